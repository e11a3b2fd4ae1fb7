"""--task=curate: runs a recipe on a pool; writes the selection and reports.

The workdir gets `stages` (finished work; see engine/shard_pass.py),
selection.npy, signals/, keep.npy (see outputs/keep_probabilities.py),
manifest.json, failures.jsonl and curation.html. The same command resumes a
stopped run; with other parameters it resumes at the first step that they
change.
"""

import contextlib
import dataclasses
import functools
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from curation import pool as pool_lib
from curation import pools
from curation import recipe as recipe_lib
from curation.engine import (
  curation_folder,
  engines,
  failures_file,
  shard_file,
  shard_pass,
  stage_pass,
  unique_uids,
)
from curation.engine import stages as stages_lib
from curation.outputs import (
  curation_page,
  keep_probabilities,
  selection,
  shares,
  signals,
)
from curation.outputs import manifest as manifest_lib
from curation.shares import caption_labels, lexicon
from runtime import failures, progress, stopping
from runtime.storage import mirror, strict_json, unfinished

SELECTION = "selection.npy"
REPORT = "curation.html"


def run(
  recipe: recipe_lib.Recipe,
  folder: pathlib.Path,
  *,
  engine: str,
  num_workers: int,
  as_json: bool = False,
) -> int:
  """Curate; return the exit code."""
  engines.check(engine, num_workers)
  try:
    with contextlib.ExitStack() as stack:
      cache_dir = pathlib.Path(recipe.cache_dir)
      opened = pools.FORMATS[recipe.pool.format]
      pool = opened.open_pool(recipe.pool, cache_dir)
      # Checked before Ray is started, which takes seconds.
      recipe_lib.check_columns(recipe.steps, pool.columns)
      workers = engines.make(engine, num_workers)
      stack.callback(workers.close)
      facts = {"engine": engine, "num_workers": num_workers}
      manifest = curate(recipe, pool, folder, workers, facts)
  except OSError as error:
    if not failures.is_disk_full(error):
      raise
    raise failures.RunError(engines.DISK_IS_FULL) from error
  if as_json:
    print(strict_json.dumps(manifest, indent=2))
  else:
    print(
      f"{manifest['num_kept']:,} of {manifest['num_pairs']:,} pairs kept, of "
      f"{manifest['num_uids']:,} images: {folder / SELECTION}, "
      f"{folder / REPORT}"
    )
    for name, kinds in _faults(manifest).items():
      numbers = ", ".join(f"{kind} {num:,}" for kind, num in kinds.items())
      print(
        f"left out by {name}: {numbers} (the column fault of "
        f"{signals.folder(folder)} names them)"
      )
  if not manifest["num_pairs"]:
    raise failures.RunError(
      f"pool.path: {recipe.pool.path} has no pairs; in Parquet files with the "
      "columns status and error_message, these are rows of the status success"
    )
  return 0


def curate(
  recipe: recipe_lib.Recipe,
  pool: pool_lib.Pool,
  folder: pathlib.Path,
  engine: engines.Engine,
  facts_of_run: dict[str, Any] | None = None,
) -> dict[str, Any]:
  """Run all stages; write the workdir's files and return the manifest.

  Args:
    recipe: checked recipe.
    pool: pool of the recipe.
    folder: the workdir.
    engine: engine for all work without a model.
    facts_of_run: fields for the manifest's section `run`.

  Raises:
    ValueError: a step reads a column that the pool does not have.
    RunError: see engine/curation_folder.py and engine/stage_pass.py.
  """
  recipe_lib.check_columns(recipe.steps, pool.columns)
  if not pool.shards:
    raise ValueError(f"pool.path={recipe.pool.path!r} has no pairs")
  start = time.time()
  with (
    unfinished.claim(folder, f"--workdir={folder}"),
    mirror.opened(folder) as copy,
    stopping.kept(),
  ):
    digest = curation_folder.begin(folder, recipe.pool, pool)
    tries = stage_pass.Tries(
      engine,
      recipe.max_attempts,
      int(recipe.max_failed_shards * len(pool.shards)),
      failures_file.Ledger(folder),
    )
    work, passes, reduced = _run_stages(recipe, pool, copy, digest, tries)
    tallies = [done.tally for done in passes]
    shards = _left(pool, work.stages)
    manifest = manifest_lib.make(
      recipe, pool, work.stages, tallies, passes[0].inputs, reduced
    )
    before = _done_before(work)
    manifest |= before or _select(work, shards, tries)
    manifest |= _shares(work, shards, tries)
    manifest["failures"] = tries.failures.failures(work.stages)
    manifest["run"] = (facts_of_run or {}) | {
      "seconds": round(time.time() - start, 3),
      "stages": [
        {"steps": list(stage.steps), "seconds": round(done.seconds, 3)}
        for stage, done in zip(work.stages, passes, strict=True)
      ],
    }
    manifest_lib.write(folder, manifest)
    if not (folder / REPORT).exists():
      run_all = functools.partial(
        stage_pass.run_all, tries, work.stage, "the report"
      )
      copy.fetch(signals.folder(copy.local))
      curation_page.write(copy, manifest, pool, run_all)
    # Deleted last: with these files, a stopped run resumes in no time.
    for name in ("kept", "merged"):
      shutil.rmtree(work.folder / name, ignore_errors=True)
    _tell_of_others(copy, work.stages)
  return manifest


def _run_stages(
  recipe: recipe_lib.Recipe,
  pool: pool_lib.Pool,
  copy: mirror.Mirror,
  digest: str,
  tries: stage_pass.Tries,
) -> tuple[shard_pass.Work, list[stage_pass.Pass], dict[str, dict[str, Any]]]:
  """Run all stages; return the last work, all passes, and reductions' facts."""
  planned = stages_lib.make(recipe.steps, digest)
  done: tuple[stages_lib.Stage, ...] = ()
  made_in: dict[str, int] = {}
  passes: list[stage_pass.Pass] = []
  reduced: dict[str, dict[str, Any]] = {}
  work = shard_pass.Work(
    pool=pool,
    steps=recipe.steps,
    stages=(),
    copy=copy,
    cache_dir=pathlib.Path(recipe.cache_dir),
    signals={},
    shares=lexicon.digest() if recipe.report_shares else "",
    num_sampled=caption_labels.quota(len(pool.shards)),
  )
  for current in planned:
    left_out = done[-1].left_out if done else ()
    current = stages_lib.without(current, left_out)
    for name in current.steps:
      made_in |= dict.fromkeys(recipe.steps[name].signals, current.number)
    stages, made = (*done, current), dict(made_in)
    work = dataclasses.replace(work, stages=stages, signals=made)
    names = ", ".join(current.steps) or "measuring"
    label = f"Stage {current.number + 1} of {len(planned)} ({names})"
    passes.append(stage_pass.run(work, _left(pool, done), tries, label))
    left_out = tuple(sorted({*left_out, *passes[-1].left_out}))
    more = len(left_out) - tries.max_failed
    if more > 0:
      raise failures.RunError(
        f"{len(left_out)} of {len(pool.shards)} shards failed in one stage or "
        f"another, {more} more than config.max_failed_shards allows; "
        f"{tries.failures.path} lists them"
      )
    done = (*done, dataclasses.replace(current, left_out=left_out))
    work = dataclasses.replace(work, stages=done)
    if len(done) == 1:
      unique_uids.check(work, _left(pool, done), recipe.pool, tries)
    for name in current.measured:
      reduced[name] = stage_pass.reduce(work, _left(pool, done), name, tries)
  return work, passes, reduced


def _select(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  tries: stage_pass.Tries,
) -> dict[str, Any]:
  """Write selection.npy and signals/; return their fields of the manifest."""
  # These describe files that are about to be replaced, maybe another recipe's.
  for name in (manifest_lib.NAME, REPORT):
    work.copy.delete(work.workdir / name)
  work.fetch_stages()
  work.copy.fetch(signals.folder(work.workdir))
  run_all = functools.partial(stage_pass.run_all, tries, work.stage)
  with progress.Progress("Signals and selection, shards", len(shards)) as bar:
    kinds = signals.types(work, shards)
    fn = functools.partial(signals.finish, work, kinds)
    numbers = run_all("signals", fn, shards, done=bar.advance)
  for other in set(signals.folder(work.workdir).glob("*.parquet")) - {
    signals.path_of(work.workdir, shard) for shard in shards
  }:
    work.copy.delete(other)  # left by a shard that is now left out
  runs = sorted(signals.run_path(work, shard) for shard in shards)
  level = 0
  while len(runs) > selection.FAN_IN:
    groups = selection.groups(runs, work.folder / "merged", level)
    run_all("selection", selection.merge_group, groups)
    runs, level = [group.path for group in groups], level + 1
  num_uids, digest = selection.write(runs, work.workdir / SELECTION, work.copy)
  paths = [signals.path_of(work.workdir, shard) for shard in shards]
  keep_probabilities.update(work.copy, work.steps, paths)
  return {
    "num_kept": sum(numbers),
    # Below num_kept if several captions of an image are kept.
    "num_uids": num_uids,
    "kept_sha256": digest,
  }


def _shares(
  work: shard_pass.Work,
  shards: Sequence[pool_lib.Shard],
  tries: stage_pass.Tries,
) -> dict[str, Any]:
  """Return the manifest's field `shares`; empty if it is not wanted."""
  manifest = manifest_lib.read(work.copy.address) or {}
  before = manifest.get("shares")
  is_same = manifest.get("key") == work.stage.result_key
  if is_same and (before or {}).get("lists", "") == work.shares:
    return {"shares": before} if before else {}
  # The report is about to differ.
  work.copy.delete(work.workdir / REPORT)
  if not work.shares:
    return {}
  work.fetch_stages()
  work.copy.fetch(signals.folder(work.workdir))
  run_all = functools.partial(stage_pass.run_all, tries, work.stage, "shares")
  return {"shares": shares.make(work, shards, run_all)}


def _faults(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
  """Return step -> kind -> pairs that it dropped because of a fault."""
  steps = {step["name"]: step["faults"] for step in manifest["steps"]}
  read = {shard_file.READ: manifest["read"]["dropped"]}
  return {name: kinds for name, kinds in (read | steps).items() if kinds}


def _done_before(work: shard_pass.Work) -> dict[str, Any]:
  """Return the result of an earlier `_select`; empty if it must run."""
  before = manifest_lib.read(work.copy.address) or {}
  # The manifest is written last.
  is_done = (
    before.get("key") == work.stage.result_key
    and (work.copy.address / SELECTION).exists()
    and signals.folder(work.copy.address).exists()
  )
  if not is_done:
    return {}
  names = ("num_kept", "num_uids", "kept_sha256")
  return {name: before[name] for name in names}


def _left(
  pool: pool_lib.Pool, stages: Sequence[stages_lib.Stage]
) -> list[pool_lib.Shard]:
  """Return the shards that are not left out so far."""
  left_out = set(stages[-1].left_out) if stages else set()
  return [shard for shard in pool.shards if shard.name not in left_out]


def _tell_of_others(
  copy: mirror.Mirror, stages: Sequence[stages_lib.Stage]
) -> None:
  others, num_bytes = curation_folder.other_stages(copy, stages)
  if others:
    print(
      f"{len(others)} stages of other parameters take {num_bytes / 1e6:.1f} MB "
      f"in {copy.address / curation_folder.STAGES}; they are used again with "
      f"these parameters, and may be deleted: {', '.join(others)}",
      file=sys.stderr,
    )
