"""The user's vocabulary file: where it is, or where it can be had."""

import dataclasses
import pathlib

FLAG = "--config.data.tokenizer_path"


@dataclasses.dataclass(frozen=True)
class Files:
  """What a tokenizer reads: names of files, best first, and their origin."""

  tokenizer: str
  names: tuple[str, ...]
  origin: str

  def find(self, path: str) -> pathlib.Path:
    """Return the file that `path` is, or the best one in the folder `path`.

    Raises FileNotFoundError, which says what would do and where it is from.
    """
    given = pathlib.Path(path).expanduser()
    if path and given.is_file():
      return given
    if path and given.is_dir():
      for name in self.names:
        if (given / name).is_file():
          return given / name
      got = f"a folder without any of these: {given}"
    else:
      got = f"{path!r}, which is not there" if path else '""'
    raise FileNotFoundError(
      f'data.tokenizer="{self.tokenizer}" reads its vocabulary from '
      f"{' or '.join(self.names)}: {self.origin}. Give the file or its folder "
      f"with {FLAG}=PATH; got {got}"
    )

  def refuse(self, file: pathlib.Path, reason: object) -> ValueError:
    """Return the error for a file that is no such vocabulary."""
    return ValueError(
      f'{file} is no vocabulary for data.tokenizer="{self.tokenizer}": '
      f"{reason}. Expected {' or '.join(self.names)}: {self.origin}."
    )
