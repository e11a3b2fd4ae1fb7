"""Captions of a tar's images in a JSON file of their own.

MetaCLIP 2 has such files beside tars of images only: an object with, for each
key, a list of captions; a caption is text, or a list that begins with the text
and its language, [text, "en", ...]. A whole file is read for one of its
examples and kept for the next, so examples should be read in order.
"""

import concurrent.futures
import posixpath
from collections.abc import Mapping
from typing import Any

from input_pipeline import captions, faults
from input_pipeline.sources import columns
from input_pipeline.storage import files, kept
from runtime.storage import remote

# Bytes of parsed files that a process keeps; Python's objects need about ten
# times as many.
_KEPT_BYTES = 128 * 2**20
_PARSED_BYTES = 10
# Concurrent requests for sizes of files.
_NUM_REQUESTS = 16

# Language -> captions.
Texts = dict[str, tuple[str, ...]]


class CaptionFiles:
  """The caption files of several tars."""

  def __init__(self, pattern: str, tars: tuple[str, ...], language: str):
    """Begin without reading a file.

    Args:
      pattern: path relative to a tar's folder, with {tar} for the tar's name
        without its extension and {folder} for the name of its folder.
      tars: paths of the tars.
      language: language of captions without one of their own.
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
    if isinstance(value, columns.Twice):
      raise faults.ExampleError(
        "caption_broken",
        f"{self._paths[tar]} has the key {key} twice, with different captions",
      )
    texts: dict[str, list[str]] = {}
    for item in value if isinstance(value, list) else ():
      text, language = item, self._language
      if isinstance(item, list) and item:
        text = item[0]
        if len(item) > 1 and isinstance(item[1], str) and item[1]:
          language = item[1]
      if isinstance(text, str) and not captions.is_blank(text):
        name = f"{self._paths[tar]}, {key}: the caption"
        columns.check_unicode(text, name)
        texts.setdefault(language, []).append(text.strip())
    return {language: tuple(some) for language, some in texts.items()}

  def facts(self) -> list[files.File]:
    """Return the files; FileNotFoundError for a missing one."""
    with concurrent.futures.ThreadPoolExecutor(_NUM_REQUESTS) as threads:
      return list(threads.map(files.facts, self._paths))

  def _read(self, tar: int) -> tuple[Mapping[str, Any], int]:
    data = files.read(self._paths[tar])
    found = columns.parsed(data, self._paths[tar])
    if not isinstance(found, dict):
      raise faults.ExampleError(
        "caption_broken", f"{self._paths[tar]} is no object of captions by key"
      )
    return found, len(data) * _PARSED_BYTES


def is_pattern(caption: str) -> bool:
  """Return whether a value of `caption` names a file beside the tar."""
  return caption.endswith(".json") and "{tar}" in caption


def path_of(pattern: str, tar: str) -> str:
  """Return the path of a tar's caption file."""
  folder, _, file = tar.rpartition("/")
  name = file.rpartition(".")[0]
  relative = pattern.replace("{tar}", name)
  relative = relative.replace("{folder}", folder.rpartition("/")[2])
  if remote.scheme(relative) or relative.startswith("/") or not folder:
    return relative
  start = folder.find("://") + 3 if "://" in folder else 0
  return folder[:start] + posixpath.normpath(f"{folder[start:]}/{relative}")
