"""Captions of a tar's images in a JSON file of their own.

As MetaCLIP 2 has them beside tars that have images only: an object with, for
each key, a list of captions; a caption is text, or a list that begins with the
text and its language, [text, "en", ...]. A whole file is read for one of its
examples and kept for the next: for reading in order.
"""

import concurrent.futures
import json
import posixpath
from collections.abc import Mapping
from typing import Any

from input_pipeline import faults
from input_pipeline.sources import columns
from input_pipeline.storage import files, kept, remote

# Of parsed files that a process keeps; what Python makes of one is about ten
# times its bytes.
_KEPT_BYTES = 128 * 2**20
_PARSED_BYTES = 10
# Files that are asked for their size at once.
_NUM_REQUESTS = 16

# Language -> captions.
Texts = dict[str, tuple[str, ...]]


class CaptionFiles:
  """The files of some tars."""

  def __init__(self, pattern: str, tars: tuple[str, ...], language: str):
    """Read nothing yet.

    Args:
      pattern: path, relative to a tar's folder, with {tar} for the tar's name
        without its extension and {folder} for that of its folder.
      tars: paths.
      language: of captions that do not say.
    """
    self._paths = [path_of(pattern, tar) for tar in tars]
    self._language = language
    self._files = kept.Kept(self._read, _KEPT_BYTES)

  def texts(self, tar: int, key: str) -> Texts:
    """Return an example's captions, by language; {} for none.

    Raises faults.ExampleError for a file that cannot be read.
    """
    found = self._files[tar]
    value = found.get(key, found.get(key.rpartition("/")[2]))
    texts: dict[str, list[str]] = {}
    for item in value if isinstance(value, list) else ():
      text, language = item, self._language
      if isinstance(item, list) and item:
        text = item[0]
        if len(item) > 1 and isinstance(item[1], str) and item[1]:
          language = item[1]
      if isinstance(text, str) and text.strip():
        texts.setdefault(language, []).append(columns.clean(text).strip())
    return {language: tuple(some) for language, some in texts.items()}

  def facts(self) -> list[files.File]:
    """Return the files; FileNotFoundError for one that is not there."""
    with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as threads:
      return list(threads.map(files.facts, self._paths))

  def _read(self, tar: int) -> tuple[Mapping[str, Any], int]:
    data = files.read(self._paths[tar])
    try:
      found = json.loads(data)
    except (ValueError, RecursionError) as error:
      raise faults.ExampleError(
        "caption_broken", f"{self._paths[tar]} is not JSON: {error}"
      ) from error
    if not isinstance(found, dict):
      raise faults.ExampleError(
        "caption_broken", f"{self._paths[tar]} is no object of captions by key"
      )
    return found, len(data) * _PARSED_BYTES


def is_pattern(place: str) -> bool:
  """Return whether a place of captions is a file beside the tar."""
  return place.endswith(".json") and "{tar}" in place


def path_of(pattern: str, tar: str) -> str:
  """Return the path of a tar's file."""
  folder, _, file = tar.rpartition("/")
  name = file.rpartition(".")[0]
  found = pattern.replace("{tar}", name)
  found = found.replace("{folder}", folder.rpartition("/")[2])
  if remote.scheme(found) or found.startswith("/") or not folder:
    return found
  start = folder.find("://") + 3 if "://" in folder else 0
  return folder[:start] + posixpath.normpath(f"{folder[start:]}/{found}")
