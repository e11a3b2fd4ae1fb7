"""--task=curate: from a recipe to a selection, with all that is to be known.

In the workdir: `stages` (what is done; see stage.py), selection.npy, signals/,
manifest.json, failures.jsonl and curation.html. The same command goes on where
a run was stopped; with other parameters it goes on from the first step that
they change.
"""

import functools
import json
import os
import pathlib
import secrets
import shutil
import time
from collections.abc import Sequence
from typing import Any

from curation import engines, formats, operators, plan, selection, stage
from curation import pool as pool_lib
from curation import recipe as recipe_lib
from input_pipeline import atomic_file, progress
from input_pipeline.sources import record
from training import failures


def run(
  recipe: recipe_lib.Recipe,
  workdir: pathlib.Path,
  *,
  engine: str,
  num_workers: int,
  as_json: bool = False,
) -> int:
  """Curate; return the exit code."""
  if recipe.pool.format not in formats.FORMATS:
    raise ValueError(
      f"pool.format must be one of {', '.join(formats.FORMATS)}; got "
      f"{recipe.pool.format!r}"
    )
  cache_dir = pathlib.Path(recipe.cache_dir)
  pool = formats.FORMATS[recipe.pool.format].open_pool(recipe.pool, cache_dir)
  workers = engines.ENGINES[engine](num_workers)
  try:
    manifest = curate(recipe, pool, workdir, workers)
  finally:
    workers.close()
  if as_json:
    print(json.dumps(manifest, indent=2))
  else:
    print(
      f"{manifest['num_kept']} of {manifest['num_pairs']} pairs kept in "
      f"{workdir / 'selection.npy'}"
    )
  return 0


def curate(
  recipe: recipe_lib.Recipe,
  pool: pool_lib.Pool,
  workdir: pathlib.Path,
  engine: engines.Engine,
) -> dict[str, Any]:
  """Run all stages; write the workdir's files and return the manifest."""
  workdir.mkdir(parents=True, exist_ok=True)
  facts = [(shard.name, shard.version) for shard in pool.shards]
  stages = plan.make(recipe.steps, record.digest(tuple(sorted(facts))))
  signals: dict[str, int] = {}
  reduced: dict[str, dict[str, Any]] = {}
  counts: dict[str, list[int]] = {}
  for current in stages:
    for name in current.steps:
      signals |= dict.fromkeys(recipe.steps[name].signals, current.number)
    work = stage.Work(
      pool=pool,
      steps=recipe.steps,
      stages=stages[: current.number + 1],
      workdir=workdir,
      cache_dir=pathlib.Path(recipe.cache_dir),
      signals=dict(signals),
    )
    runs = engines.Inline() if current.on_mesh else engine
    for name, (entered, kept) in _run_stage(work, runs, recipe).items():
      counts[name] = [entered, kept]
    for name in (*current.raw_measures, *current.measures):
      reduced[name] = _reduce(work, name, engine)
  last = stages[-1]
  parts = [
    stage.folder(workdir, last) / "shards" / f"{shard.name}.parquet"
    for shard in pool.shards
  ]
  num_kept, digest = selection.write(parts, workdir / "selection.npy")
  manifest = {
    "num_pairs": sum(n for n, _ in [next(iter(counts.values()), [0, 0])]),
    "num_kept": num_kept,
    "kept_sha256": digest,
    "steps": [
      {
        "name": name,
        "op": type(step).__name__,
        "in": counts[name][0],
        "kept": counts[name][1],
        "facts": reduced.get(name, {}),
      }
      for name, step in recipe.steps.items()
    ],
  }
  text = json.dumps(manifest, indent=2)
  atomic_file.write(workdir / "manifest.json", text.encode() + b"\n")
  return manifest


def _run_stage(
  work: stage.Work, engine: engines.Engine, recipe: recipe_lib.Recipe
) -> dict[str, list[int]]:
  """Do every shard of a stage; return {step: [pairs in, pairs kept]}."""
  totals = {name: [0, 0] for name in work.stage.steps}
  pending: Sequence[pool_lib.Shard] = list(work.pool.shards)
  label = f"Stage {work.stage.number + 1}: {', '.join(work.stage.steps)}"
  with progress.Progress(f"{label}, shards", len(pending)) as bar:
    for attempt in range(1, recipe.max_attempts + 1):
      failed = []
      fn = functools.partial(stage.run, work)
      for number, result in engine.run(fn, pending):
        if isinstance(result, Exception):
          _note(work, pending[number], attempt, result)
          failed.append(pending[number])
          continue
        bar.advance()
        for name, (entered, kept) in result.items():
          totals[name][0] += entered
          totals[name][1] += kept
      pending = failed
      if not pending:
        return totals
  raise failures.RunError(
    f"{len(pending)} of {len(work.pool.shards)} shards failed "
    f"{recipe.max_attempts} times, {pending[0].path} among them; the others "
    f"are done. {work.workdir / 'failures.jsonl'} says why; the same command "
    "tries those again"
  )


def _note(
  work: stage.Work, shard: pool_lib.Shard, attempt: int, error: Exception
) -> None:
  line = {
    "time": time.time(),
    "stage": work.stage.folder,
    "steps": work.stage.steps,
    "shard": shard.name,
    "path": shard.path,
    "attempt": attempt,
    "error": f"{type(error).__name__}: {error}",
  }
  with open(work.workdir / "failures.jsonl", "a") as file:
    file.write(json.dumps(line) + "\n")


def _reduce(
  work: stage.Work, name: str, engine: engines.Engine
) -> dict[str, Any]:
  """Make a reduction's state, whole or not at all; return its facts."""
  step = work.steps[name]
  assert isinstance(step, operators.Reduction)
  folder = stage.state_folder(work.workdir, work.stages, name)
  facts = folder / "facts.json"
  if facts.exists():
    return json.loads(facts.read_text())
  parts = [
    stage.part_path(work.workdir, work.stage, name, shard)
    for shard in work.pool.shards
  ]
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = folder.with_name(f".{name}.tmp-{secrets.token_hex(8)}")
  temporary.mkdir()
  try:
    place = operators.Place(work.workdir, work.cache_dir, temporary)
    found = step.reduce(parts, place, functools.partial(_run_all, engine))
    text = json.dumps(found)
    atomic_file.write(temporary / "facts.json", text.encode())
    os.rename(temporary, folder)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  return found


def _run_all(engine: engines.Engine, fn: Any, items: Sequence[Any]) -> list:
  """Return fn of each item, in order; raise what one of them raised."""
  results: dict[int, Any] = {}
  for number, result in engine.run(fn, items):
    if isinstance(result, Exception):
      raise result
    results[number] = result
  return [results[number] for number in range(len(items))]
