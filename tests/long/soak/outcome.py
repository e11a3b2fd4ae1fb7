"""Outcome of a soak: equality, lines in the log, leftovers, and the report."""

import json
import os
import pathlib
from typing import Any

from runtime.storage import bucket_path, leases, whole_files
from tests import runs
from tests.long.soak import disturbances, driver

# Folders whose content differs from an undisturbed run's.
_OWN = ("checkpoints/", "code/", "tensorboard/", "rejected/")


def report(
  soak: driver.Soak, records: list[driver.Record], reference: pathlib.Path
) -> dict[str, Any]:
  """Return all that a report says, for JSON."""
  job = soak.job
  rows = [_row(soak, record) for record in records]
  difference = _difference(soak, reference)
  left = _leftovers(soak, records, reference)
  kinds = {row["kind"] for row in rows}
  return {
    "ok": not difference
    and not left
    and not soak.unexpected
    and all(row["ok"] for row in rows),
    "num_disturbances": len(rows),
    "num_ok": sum(row["ok"] for row in rows),
    "kinds": sorted(kinds),
    "num_attempts": len(job.attempts),
    "total_steps": soak.total_steps,
    "seconds": soak.elapsed(),
    "difference": difference,
    "leftovers": left,
    "unexpected_ends": soak.unexpected,
    "disturbances": rows,
  }


def _row(soak: driver.Soak, record: driver.Record) -> dict[str, Any]:
  attempts = soak.job.attempts
  here = attempts[record.attempt].text(record.since)
  later = "\n".join(other.text() for other in attempts[record.attempt + 1 :])
  told, missing = [], []
  for text, patterns in (
    (here, record.outcome.here),
    (later, record.outcome.later),
  ):
    for pattern in patterns:
      lines = disturbances.lines(text, pattern)
      told += lines[:1]
      if not lines:
        missing.append(pattern)
  return {
    "kind": record.kind,
    "detail": record.outcome.detail,
    "at_seconds": round(record.seconds, 1),
    "step": record.step,
    "is_starting": record.is_starting,
    "attempt": record.attempt,
    "codes": record.outcome.codes,
    "recovered_seconds": record.recovered and round(record.recovered, 1),
    "log_lines": told,
    "missing_lines": missing,
    "problems": record.outcome.problems,
    "ok": not missing and not record.outcome.problems,
  }


def _difference(soak: driver.Soak, reference: pathlib.Path) -> str:
  """Return the first difference from the undisturbed run, "" without one."""
  workdir = soak.job.workdir
  try:
    runs.assert_same_run(workdir, reference, soak.job.cache_dir)
    if soak.job.num_processes == 2:
      for name in ("results.json", "image_protocol.json"):
        same = (workdir / name).read_bytes() == (reference / name).read_bytes()
        assert same, name
  except (AssertionError, OSError) as error:
    return str(error)[:2000] or "metrics.jsonl"
  return ""


def _leftovers(
  soak: driver.Soak, records: list[driver.Record], reference: pathlib.Path
) -> list[str]:
  """Return what a complete run should not have left, or lacks."""
  workdir = soak.job.workdir
  names, expected = _names(workdir), _names(reference)
  other, other_expected = (
    {name for name in of if not name.startswith(_OWN)}
    for of in (names, expected)
  )
  left = [f"{name} in the folder" for name in sorted(other - other_expected)]
  left += [f"{name} is missing" for name in sorted(other_expected - other)]
  steps, steps_expected = (
    sorted(
      {name.split("/")[1] for name in of if name.startswith("checkpoints")}
    )
    for of in (names, expected)
  )
  if steps != steps_expected:
    left.append(f"checkpoints of {steps}, expected {steps_expected}")
  damaged = {
    record.outcome.detail.split()[1].rstrip(":")
    for record in records
    if record.kind == "corrupt"
  }
  rejected = {name.split("/")[1] for name in names if name.startswith("rej")}
  if not rejected <= damaged:
    left.append(f"rejected {sorted(rejected)}, damaged were {sorted(damaged)}")
  is_bucket = isinstance(workdir, bucket_path.BucketPath)
  if is_bucket and leases.token(workdir / ".lock"):
    left.append("the lease has an owner")
  temporary = sorted(path.name for path in (soak.disk / "tmp").iterdir())
  left += [f"{name} in TMPDIR" for name in temporary]
  for attempt in soak.job.attempts:
    for process in attempt.processes:
      try:
        os.killpg(process.pid, 0)
        left.append(f"process {process.pid} of attempt {attempt.number}")
      except ProcessLookupError:
        pass
  return left


def _names(folder: pathlib.Path) -> set[str]:
  return set(whole_files.sizes(folder))


def markdown(report: dict[str, Any]) -> str:
  """Return a report as a page."""
  lines = [
    f"# Soak at {report['store']}, seed {report['seed']}:"
    f" {'passed' if report['ok'] else 'FAILED'}",
    "",
    f"{report['num_ok']} of {report['num_disturbances']} disturbances"
    f" survived and told in the log, {report['seconds'] / 60:.1f} minutes,"
    f" {report['num_attempts']} starts, {report['total_steps']} steps.",
    "",
    "Parameters, losses and results beside the undisturbed run's: "
    + (report["difference"] or "equal to the bit")
    + ".",
    "",
    f"Left behind: {'; '.join(report['leftovers']) or 'nothing'}.",
    "",
    f"Ends without a disturbance: {len(report['unexpected_ends'])}.",
    "",
    f"Resumed on one device instead of two: {report['other_mesh']['steps']}"
    f" losses within {report['other_mesh']['largest']:.1e}, parameters within"
    f" {report['other_mesh']['parameters']:.1e} (biases of the keys, which"
    f" change no output: {report['other_mesh']['key_biases']:.1e}).",
    "",
    "| at | step | disturbance | codes | back after | log |",
    "|---|---|---|---|---|---|",
  ]
  for row in report["disturbances"]:
    minutes, seconds = divmod(round(row["at_seconds"]), 60)
    back = row["recovered_seconds"]
    told = "<br>".join(f"`{line[:160]}`" for line in row["log_lines"])
    told = told.replace("|", "\\|")
    if not row["ok"]:
      problems = row["problems"] + [f"no {p}" for p in row["missing_lines"]]
      told += "<br>**" + "; ".join(problems).replace("|", "\\|") + "**"
    lines.append(
      f"| {minutes:02}:{seconds:02} | {row['step']}"
      f" | {'(starting) ' if row['is_starting'] else ''}{row['detail']}"
      f" | {json.dumps(row['codes'])}"
      f" | {f'{back:.0f} s' if back else '-'} | {told} |"
    )
  return "\n".join(lines) + "\n"
