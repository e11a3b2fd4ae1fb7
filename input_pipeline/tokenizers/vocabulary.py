"""Search for the user's vocabulary file, and errors that name its origin."""

import dataclasses
import pathlib

FLAG = "--config.data.tokenizer_path"


@dataclasses.dataclass(frozen=True)
class Files:
  """Files that a tokenizer reads: names, best first, and their origin."""

  tokenizer: str
  names: tuple[str, ...]
  origin: str

  def find(self, path: str) -> pathlib.Path:
    """Return the file `path`, or the best file in the folder `path`.

    Raises FileNotFoundError, which names usable files and their origin.
    """
    target = pathlib.Path(path).expanduser()
    if path and target.is_file():
      return target
    if path and target.is_dir():
      for name in self.names:
        if (target / name).is_file():
          return target / name
      got = f"a folder without any of these: {target}"
    else:
      got = f"{path!r}, which is not there" if path else '""'
    raise FileNotFoundError(
      f'data.tokenizer="{self.tokenizer}" reads its vocabulary from '
      f"{' or '.join(self.names)}: {self.origin}. Give the file or its folder "
      f"with {FLAG}=PATH; got {got}"
    )

  def refuse(self, file: pathlib.Path, reason: object) -> ValueError:
    """Return the error for a file that is no vocabulary of this tokenizer."""
    return ValueError(
      f'{file} is no vocabulary for data.tokenizer="{self.tokenizer}": '
      f"{reason}. Expected {' or '.join(self.names)}: {self.origin}."
    )
