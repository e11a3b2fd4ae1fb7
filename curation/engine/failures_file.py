"""failures.jsonl: every failed attempt at a shard, and each later success.

A line is one failed attempt, or the success that ends a shard's failures:

  {"time": "2026-...", "stage": "00-...", "steps": ["match"], "shard": "...",
   "path": "pool/00007.tar", "rows": [0, 10000], "attempt": 1,
   "kind": "OSError", "message": "...", "traceback": "..."}
  {"time": "...", "stage": "00-...", "shard": "...", "path": "...",
   "attempt": 2, "succeeded": true}

`rows` is the shard's range of its file: row groups, bytes or examples, as the
pool's format counts. A failed reduction has no shard.
"""

import datetime
import pathlib
from collections.abc import Collection
from typing import Any

from curation import pool as pool_lib
from curation.engine import stages as stages_lib
from runtime import processes
from runtime.storage import jsonl

NAME = "failures.jsonl"
# Characters of a traceback that are kept, from its end.
_MAX_TRACE = 4000


class Ledger:
  """The file of a curation; one process writes to it."""

  def __init__(self, workdir: pathlib.Path):
    """Read the lines of earlier runs."""
    self.path = workdir / NAME
    # (stage, shard) -> its last line.
    self._last: dict[tuple[str, str], dict[str, Any]] = {}
    self._lines = jsonl.writer(self.path)
    for line in jsonl.read(self.path):
      self._remember(line)

  def failed(
    self,
    stage: stages_lib.Stage,
    steps: Collection[str],
    shard: pool_lib.Shard | None,
    error: processes.TaskError,
  ) -> None:
    """Append a failed attempt at a shard, or at a reduction without one."""
    self._write(
      self._facts(stage, steps, shard)
      | {
        "kind": error.kind,
        "message": error.message,
        "traceback": error.trace[-_MAX_TRACE:],
      }
    )

  def succeeded(
    self,
    stage: stages_lib.Stage,
    steps: Collection[str],
    shard: pool_lib.Shard | None,
  ) -> None:
    """Append the success of a shard or reduction, if it had failed before."""
    last = self._last.get((stage.folder, _name(steps, shard)))
    if last is not None and not last.get("succeeded"):
      self._write(self._facts(stage, steps, shard) | {"succeeded": True})

  def failures(
    self, stages: Collection[stages_lib.Stage]
  ) -> list[dict[str, Any]]:
    """Return the failures of stages and their present state, for JSON."""
    folders = {stage.folder for stage in stages}
    lines = [x for (stage, _), x in self._last.items() if stage in folders]
    lines.sort(key=lambda line: (line["stage"], line["shard"]))
    return [
      {
        "stage": line["stage"],
        "shard": line["shard"],
        "path": line["path"],
        "num_failures": line["attempt"] - bool(line.get("succeeded")),
        "succeeded": bool(line.get("succeeded")),
        "error": line["error"],
      }
      for line in lines
    ]

  def _facts(
    self,
    stage: stages_lib.Stage,
    steps: Collection[str],
    shard: pool_lib.Shard | None,
  ) -> dict[str, Any]:
    key = stage.folder, _name(steps, shard)
    now = datetime.datetime.now(datetime.UTC)
    return {
      "time": now.isoformat("T", "milliseconds"),
      "stage": key[0],
      "steps": list(steps),
      "shard": key[1],
      "path": shard.path if shard else "",
      "rows": [shard.start, shard.stop] if shard else [],
      "attempt": self._last.get(key, {}).get("attempt", 0) + 1,
    }

  def _write(self, line: dict[str, Any]) -> None:
    self._lines.write(line)
    self._lines.sync()
    self._lines.close()
    self._remember(line)

  def _remember(self, line: dict[str, Any]) -> None:
    key = line["stage"], line["shard"]
    error = self._last.get(key, {}).get("error", "")
    if "kind" in line:
      error = f"{line['kind']}: {line['message']}"
    self._last[key] = line | {"error": error}


def _name(steps: Collection[str], shard: pool_lib.Shard | None) -> str:
  return shard.name if shard else f"all of {', '.join(steps)}"
