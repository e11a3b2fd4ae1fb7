"""main.py from start to end: what it writes, and what is done with a run."""

import json
import shutil
import struct

import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from tests import runs
from training.run import starts

_AT_1 = ("R@1", "R@5", "R@10", "median_rank")


def _events(workdir):
  """Return all TensorBoard events, oldest first."""
  events = []
  for path in sorted((workdir / "tensorboard").iterdir()):
    data = path.read_bytes()
    while data:
      # Length, its checksum, the event, its checksum.
      (length,) = struct.unpack("<Q", data[:8])
      events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return events


@pytest.mark.slow
def test_results(reference):
  results = json.loads((reference / "results.json").read_text())
  names = ["compositional", "unseen_concept", "zero_shot", "inputs"]
  assert list(results) == names
  assert results["inputs"]["image_protocol"]["resize"] == "shortest"
  assert results["compositional"]["num_candidates"] == 304
  assert results["unseen_concept"]["num_candidates"] == 240
  for split in ("compositional", "unseen_concept"):
    assert list(results[split]) == [
      "num_candidates",
      "num_texts",
      "image_to_text",
      "text_to_image",
      "all_names",
      "protocol",
    ]
    for direction in ("image_to_text", "text_to_image", "all_names"):
      assert set(_AT_1) <= set(results[split][direction])
      for name in _AT_1[:3]:
        assert 0 <= results[split][direction][name] <= 1
    assert results[split]["all_names"]["num_candidates"] == 3953
  assert results["zero_shot"]["skin_tone"]["num_classes"] == 5


def test_metrics(reference):
  rows = runs.rows(reference)
  trained = [row for row in rows if "train/loss" in row]
  assert [row["step"] for row in trained] == list(range(1, 41))
  assert set(trained[0]) == {
    "step",
    "train/loss",
    "train/grad_norm",
    "train/learning_rate",
    "train/scale",
    "train/bias",
  }
  # Learning happened: half of the loss of the start is more than noise.
  assert trained[-1]["train/loss"] < 0.6 * trained[0]["train/loss"]
  compiled = rows[0]
  assert compiled["compile/num_parameters"] > 10_000
  assert compiled["compile/step_gflop"] > 0
  assert compiled["compile/seconds"] > 0
  assert compiled["compile/num_devices"] == 1
  assert compiled["compile/argument_mib"] > 0
  assert compiled["compile/temporary_mib"] > 0
  final = rows[-1]
  results = json.loads((reference / "results.json").read_text())
  assert (
    final["compositional/image_to_text/R@1"]
    == results["compositional"]["image_to_text"]["R@1"]
  )


def test_tensorboard(reference):
  values = {}
  for event in _events(reference):
    for value in event.summary.value:
      values.setdefault(value.tag, {})[event.step] = value.simple_value
  rows = [row for row in runs.rows(reference) if "train/loss" in row]
  assert len(rows) == len(values["train/loss"]) == 40
  for row in rows:
    got = values["train/loss"][row["step"]]
    assert got == pytest.approx(row["train/loss"], rel=1e-6)  # float32
  # TensorBoard allows no @ in names.
  assert "compositional/image_to_text/R_1" in values


def test_config_json(reference):
  written = json.loads((reference / "config.json").read_text())
  assert written["config"]["total_steps"] == 40
  assert written["config"]["model"]["image"]["width"] == 16
  assert written["versions"]["jax"].count(".") >= 2
  assert {"flax", "optax", "grain", "numpy"} <= set(written["versions"])
  assert "--config=tests/tiny.py" in written["command"]
  if (runs.ROOT / ".git").exists():
    assert len(written["commit"].removesuffix("+changes")) == 40


def test_record_of_the_start(reference):
  cost = starts.total(reference)
  assert cost.num_starts == 1
  assert 1 < cost.seconds < 1000
  page = (reference / "report.html").read_text()
  for name in ("machine", "wall time", "energy", "command", "simplejpeg"):
    assert f"<dt>{name}</dt>" in page
  assert "--config=tests/tiny.py" in page


def test_output(reference):
  stdout = (reference.parent / "reference.stdout").read_text()
  stderr = (reference.parent / "reference.stderr").read_text()
  results = json.loads((reference / "results.json").read_text())
  shown = f"{results['compositional']['image_to_text']['R@1']:.3f} (0.003)"
  assert shown in stdout
  assert "In brackets: chance." in stdout
  assert "step 40/40  loss " in stderr
  assert "M parameters" in stderr
  assert str(reference / "report.html") in stderr
  assert "Warning" not in stderr
  page = (reference / "report.html").read_text()
  assert page.count("data:image/") > 10
  assert "skin tone" in page


def test_a_completed_run_is_not_run_again(runner, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  result = runner.run(workdir, "--json")
  assert result.code == 0, result.stderr
  assert "is complete" in result.stderr
  expected = json.loads((reference / "results.json").read_text())
  assert json.loads(result.stdout) == expected
  for name in ("metrics.jsonl", "results.json", "report.html"):
    assert (workdir / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
def test_evaluate(runner, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  (workdir / "results.json").unlink()
  result = runner.run(workdir, "--task=evaluate", "--json", config=None)
  assert result.code == 0, result.stderr
  assert "checkpoint of step 40" in result.stderr
  written = (workdir / "results.json").read_bytes()
  assert written == (reference / "results.json").read_bytes()
  assert json.loads(result.stdout) == json.loads(written)
  result = runner.run(workdir, "--task=evaluate", "--config.evaluate.sets={}")
  assert result.code == 1
  assert "evaluate.sets must have at least one set" in result.stderr
  assert (workdir / "results.json").read_bytes() == written


@pytest.mark.slow
def test_search(runner, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  query = "--query=woman firefighter"
  result = runner.run(workdir, "--task=search", query, config=None)
  assert result.code == 0, result.stderr
  header, *lines, last = result.stdout.strip().splitlines()
  assert header.split() == ["rank", "score", "name", "key", "split"]
  assert [line.split()[0] for line in lines] == [str(n) for n in range(1, 13)]
  path = workdir / "search-woman-firefighter.png"
  assert last == f"Contact sheet: {path}"
  with Image.open(path) as sheet:
    sheet.load()
    assert sheet.format == "PNG"
    assert min(sheet.size) > 100

  result = runner.run(workdir, "--task=search", query, "--json", config=None)
  assert result.code == 0, result.stderr
  found = json.loads(result.stdout)
  assert found["query"] == "woman firefighter"
  assert found["contact_sheet"] == str(path)
  scores = [match["score"] for match in found["results"]]
  assert len(scores) == 12
  assert scores == sorted(scores, reverse=True)
  assert found["results"][0]["key"] in lines[0]


@pytest.mark.slow
def test_languages(runner, reference, tmp_path):
  del reference  # prepared data and programs
  result = runner.run(
    tmp_path / "run",
    "--config.data.languages=('en','de','ja')",
    "--config.total_steps=3",
    "--config.optimizer.warmup_steps=0",
    "--config.evaluate.every_steps=2",
    config="tests/tiny.py:compositional",
  )
  assert result.code == 0, result.stderr
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert list(results) == ["compositional", "inputs"]
  languages = results["compositional"]["languages"]
  assert list(languages) == ["en", "de", "ja"]
  for scores in languages.values():
    assert scores["num_candidates"] == scores["num_texts"] == 304
    assert 0 <= scores["image_to_text"]["R@1"] <= 1
  assert "image to text, ja" in result.stdout
  # From the loop as well.
  key = "compositional/languages/de/text_to_image/R@10"
  steps = [row["step"] for row in runs.rows(tmp_path / "run") if key in row]
  assert steps == [2, 3]
