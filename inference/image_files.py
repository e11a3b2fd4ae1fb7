"""Image files named by a flag; imports no JAX."""

import pathlib

from input_pipeline.storage import folders, patterns

# Suffixes of the images in a folder; a pattern may name any file.
SUFFIXES = folders.IMAGES
# Files that a line names.
_NUM_NAMED = 5


def find(pattern: str) -> list[pathlib.Path]:
  """Return the files of a pattern such as "photos/**/*.jpg", sorted by path.

  A path that exists is that path; storage/patterns.py has the rules. A folder
  stands for the images in it (by suffix), and "~" for one's home.

  Raises:
    ValueError: the pattern names no file, or the folder has no images.
  """
  path = pathlib.Path(pattern).expanduser()
  if path.is_dir():
    paths = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES]
    expected = f"files in it that end in {', '.join(SUFFIXES)}"
  else:
    try:
      expanded = patterns.expand(str(path))
    except ValueError as error:
      raise ValueError(f"--images: {error}") from error
    names = {x for one in expanded for x in patterns.local_paths(one)}
    paths = map(pathlib.Path, names)
    expected = 'a folder or a quoted pattern, as --images="photos/*.jpg"'
    expected += patterns.advice(pattern)
  files = sorted(path for path in paths if path.is_file())
  if not files:
    raise ValueError(f"--images={pattern} is no image; expected {expected}")
  return files


def unread(pattern: str) -> list[str]:
  """Return lines about what is in a folder and `find` does not read."""
  path = pathlib.Path(pattern).expanduser()
  if not path.is_dir():
    return []
  lines = []
  entries = sorted(path.iterdir())
  others = [
    entry.name
    for entry in entries
    if entry.is_file() and entry.suffix.lower() not in SUFFIXES
  ]
  if others:
    more = ", ..." if len(others) > _NUM_NAMED else ""
    lines.append(
      f"--images={pattern} has {len(others)} files without the suffix of an"
      f" image, which are not read: {', '.join(others[:_NUM_NAMED])}{more}"
    )
  num_folders = sum(entry.is_dir() for entry in entries)
  if num_folders:
    lines.append(
      f"--images={pattern} has {num_folders} sub-folders, whose images are not"
      f' read; --images="{pattern.rstrip("/")}/**/*.jpg" reads them too'
    )
  return lines
