"""Journal of an adaptive search in a bucket, whose objects cannot grow.

ROOT/optuna/000000012.json   the entries from number 12 on that were appended
                             at once
"""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from runtime.storage import whole_files


class BucketJournal:
  """Backend of Optuna's journal, for the sweep that has claimed its folder.

  It has the methods of optuna.storages.journal.BaseJournalBackend, which this
  module does not import since Optuna is optional.
  """

  def __init__(self, folder: pathlib.Path):
    """Read the entries that are there.

    Raises:
      ValueError: an object is missing between two others.
    """
    self._folder = folder
    self._entries: list[dict[str, Any]] = []
    names = whole_files.sizes(folder)
    for name in sorted(name for name in names if name.endswith(".json")):
      if int(name.removesuffix(".json")) != len(self._entries):
        raise ValueError(
          f"{folder} lacks the entries from number {len(self._entries)} on,"
          f" before {name}; restore that object, or begin in another --workdir"
        )
      self._entries += json.loads((folder / name).read_text())

  def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
    """Return the entries from a number on."""
    return self._entries[log_number_from:]

  def append_logs(self, logs: list[dict[str, Any]]) -> None:
    """Write entries as one object."""
    if logs:
      path = self._folder / f"{len(self._entries):09d}.json"
      whole_files.write(path, json.dumps(logs).encode())
      self._entries += logs
