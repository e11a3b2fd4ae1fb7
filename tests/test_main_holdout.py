"""main.py with evaluate.holdout: no held-out picture is ever trained on."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline.sources import image_ids
from tests import runs

_NUM = 60  # pictures, of five rows each
_SHARE = 0.2
# Writes the keys of the examples that batches are made of.
_LOGGED = """
from input_pipeline import examples
make = examples.Maker._make
def logged(self, source, record, *args):
  with open({path!r}, "a") as file:
    file.write(f"{{record.key}}\\n")
  return make(self, source, record, *args)
examples.Maker._make = logged
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  """Return a table in random order, and the pictures to be held out."""
  folder = tmp_path_factory.mktemp("table")
  rng = np.random.default_rng(0)
  rows, held = [], set()
  for number in range(_NUM):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    name = f"{number}.png"
    (folder / name).write_bytes(file.getvalue())
    rows += [(name, f"{number} {word}") for word in "abcde"]
    digest = image_ids.of_bytes(file.getvalue())
    if int.from_bytes(digest[:8]) < _SHARE * 2**64:
      held.add(name)
  with open(folder / "captions.csv", "w", newline="") as file:
    csv.writer(file).writerows([("image", "caption"), *rng.permutation(rows)])
  assert 5 < len(held) < 20
  return folder, held


def _args(table, *more):
  return (
    "--config.data.sources.main.format=table",
    f"--config.data.sources.main.path={table[0]}",
    "--config.data.sources.main.split=",
    "--config.evaluate.sets={}",
    f"--config.evaluate.holdout={_SHARE}",
    "--config.total_steps=20",
    "--config.evaluate.every_steps=5",
    *more,
  )


def _finished(processes):
  results = [runs.finish(process) for process in processes]
  assert [r.code for r in results] == [0] * len(results), results[0].stderr
  return results[0]


def _trained(path):
  return {line.partition("#")[0] for line in path.read_text().splitlines()}


@pytest.fixture(scope="module")
def alone(runner, table, tmp_path_factory):
  """Return the folder of a run of one process with 4 devices."""
  workdir = tmp_path_factory.mktemp("alone") / "run"
  log = workdir.with_suffix(".rows")
  processes = runner.start_cluster(
    workdir, 1, *_args(table), before=_LOGGED.format(path=str(log))
  )
  result = _finished(processes)
  held = table[1]
  assert _trained(log) == {f"{i}.png" for i in range(_NUM)} - held
  said = f"{5 * len(held)} examples of {len(held)} images"
  assert f"Held out of data.sources.main: {said}" in result.stderr
  return workdir


@pytest.mark.slow
def test_the_run_records_its_split(alone, table):
  results = json.loads((alone / "results.json").read_text())
  assert list(results) == ["holdout", "inputs"]
  assert results["holdout"]["num_candidates"] == len(table[1])
  assert results["holdout"]["num_texts"] == 5 * len(table[1])
  facts = json.loads((alone / "data_sources.json").read_text())["main"]
  assert facts["examples"] == 5 * (_NUM - len(table[1]))
  assert facts["held_out"]["images"] == len(table[1])
  config = json.loads((alone / "config.json").read_text())["config"]
  assert config["evaluate"]["holdout"] == _SHARE
  names = {name for row in runs.rows(alone) for name in row}
  assert "holdout/image_to_text/R@1" in names


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_then_one_with_a_limit(runner, alone, table, tmp_path):
  """All evaluations but the last take the sample that was decided first."""
  log = tmp_path / "rows"
  before = _LOGGED.format(path=str(log))
  workdir = tmp_path / "run"
  args = _args(
    table,
    "--config.evaluate.max_fraction=1e-6",
    "--config.evaluate.batch_size=4",
  )
  said = "Evaluations but the last take at most 4 examples of a source"
  processes = runner.start_cluster(workdir, 2, *args, before=before)
  assert said in _finished(processes).stderr
  assert not _trained(log) & table[1]
  for name in ("data_sources.json", "results.json"):
    assert (workdir / name).read_bytes() == (alone / name).read_bytes()
  decided = (workdir / "evaluation_sample.json").read_bytes()
  assert json.loads(decided)["num_examples"] == 4
  figures = _figures(workdir)
  assert [*figures] == [5, 10, 15, 20]
  for step, row in figures.items():
    assert row["holdout.sample/num_examples"] == 4
    assert ("holdout/image_to_text/R@1" in row) == (step == 20)

  for folder in (workdir / "checkpoints").iterdir():
    if int(folder.name) > 10:
      shutil.rmtree(folder)
  (workdir / "results.json").unlink()
  assert said not in _finished(runner.start_cluster(workdir, 1, *args)).stderr
  assert (workdir / "evaluation_sample.json").read_bytes() == decided
  after = _figures(workdir)
  assert after[10] == figures[10]  # though no step was measured before it
  for step, row in after.items():
    assert row.keys() == figures[step].keys()
    assert row["holdout.sample/num_examples"] == 4


def _figures(workdir):
  """Return lines of evaluations in metrics.jsonl, by step."""
  return {
    row["step"]: row
    for row in runs.rows(workdir)
    if any(name.startswith("holdout") for name in row)
  }


@pytest.mark.slow
def test_resumed_and_evaluated_again(runner, alone, table, tmp_path):
  workdir = shutil.copytree(alone, tmp_path / "run")
  wanted = (workdir / "results.json").read_bytes()
  for folder in (workdir / "checkpoints").iterdir():
    if int(folder.name) > 10:
      shutil.rmtree(folder)
  (workdir / "results.json").unlink()
  _finished(runner.start_cluster(workdir, 1, *_args(table)))
  assert (workdir / "results.json").read_bytes() == wanted
  (workdir / "results.json").unlink()
  args = ("--task=evaluate",)
  result = runner.run(workdir, *args, config=None)
  assert result.code == 0, result.stderr
  assert json.loads((workdir / "results.json").read_text()).keys() == {
    *("holdout", "inputs")
  }

  for share in (0.3, 0.0):
    more = f"--config.evaluate.holdout={share}"
    result = runner.run(workdir, *_args(table, more))
    assert result.code != 0
    assert f"evaluate.holdout: {_SHARE} in the folder, {share} now" in (
      result.stderr
    )
  # Pictures that changed are others: one of them may have been trained on.
  moved = shutil.copytree(table[0], tmp_path / "table")
  config = json.loads((workdir / "config.json").read_text())
  config["config"]["data"]["sources"]["main"]["path"] = str(moved)
  (workdir / "config.json").write_text(json.dumps(config))
  result = runner.run(workdir, *args, config=None)
  assert result.code == 0, result.stderr
  for number in range(_NUM):
    with open(moved / f"{number}.png", "ab") as file:
      file.write(b"\0")
  with open(moved / "captions.csv", "a") as file:
    file.write("\n")
  result = runner.run(workdir, *args, config=None)
  assert result.code != 0
  assert "data.sources.main has other images than when" in result.stderr
