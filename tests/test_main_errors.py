"""Failures print a line or two, and leave no half-written file."""

import fcntl
import json
import os
import shutil

import pytest

from tests import runs

_NO_EVALUATION = ("--config.evaluate.sets={}",)


def _assert_refused(result, *words):
  """A message of one or two lines that holds `words`; exit code not 0."""
  assert result.code != 0
  lines = result.stderr.strip().splitlines()
  assert 1 <= len(lines) <= 3, result.stderr
  assert "Traceback" not in result.stderr
  assert "error: " in result.stderr
  for word in words:
    assert word in result.stderr, result.stderr
  assert not result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
  ("args", "words"),
  [
    (("--stepz=3",), ("stepz",)),
    (("--config.batch_sise=3",), ("batch_sise",)),
    (("--config.model.image.widht=3",), ("widht",)),
    (("--config.batch_size=many",), ("batch_size", "many")),
    (("--config.batch_size=2.5",), ("batch_size", "2.5")),
    (("--config.data.languages=3",), ("languages",)),
    (("--config.data.languages=('en','xx')",), ("data.languages", "xx")),
    (("--config.total_steps=0",), ("total_steps", "0")),
    (("--config.loss.name=hinge",), ("loss.name", "hinge", "sigmoid")),
    (
      ("--config.evaluate.zero_shot=()",),
      ("--config.evaluate.zero_shot is gone", "--config.evaluate.sets={}"),
    ),
    (
      ("--config.evaluate.retrieval=('dev',)",),
      ("--config.evaluate.retrieval is gone", "configs/evaluate/emoji.py"),
    ),
    (
      ("--config.evaluate.sets.skin_tone.label=x",),
      ("evaluate.sets.skin_tone.label must be one of key_part; got 'x'",),
    ),
    (
      ("--config.evaluate.sets.compositional.source.split=dev",),
      ("evaluate.sets.compositional.source.split", "unseen_concept", "'dev'"),
    ),
    (("--task=trian",), ("--task", "trian", "train, evaluate, compare")),
    (("train",), ("'train'", "--")),
    (("--task=search", "--query= "), ("--query", "empty")),
    (("--query=car",), ("--query", "not used by --task=train", "search")),
    (("--task=evaluate",), ("--workdir", "no config.json")),
  ],
)
def test_misspelt_and_mistyped(args, words, runner, reference, tmp_path):
  del reference  # prepared data
  workdir = tmp_path / "run"
  config = None if "--task=search" in args else "tests/tiny.py"
  _assert_refused(runner.run(workdir, *args, config=config), *words)
  left = [p for p in workdir.rglob("*") if p.is_file()]
  assert {p.name for p in left} <= {".lock", "config.json"}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "words"),
  [
    (None, ("--config", "configs/quickstart.py")),
    ("configs/quickstrat.py", ("--config", "configs/quickstrat.py")),
    ("README.md", ("--config", "README.md")),
    ("configs/siglip.py:b17", ("configs/siglip.py:VARIANT", "'b17'")),
  ],
)
def test_config_missing(config, words, runner, tmp_path):
  _assert_refused(runner.run(tmp_path / "run", config=config), *words)
  assert not (tmp_path / "run").exists()


def test_workdir_missing(runner):
  _assert_refused(runner.run(None), "--workdir", "--workdir=runs/NAME")


def test_batch_that_the_mesh_does_not_divide(runner, tmp_path):
  result = runner.run(
    tmp_path / "run",
    "--config.batch_size=12",
    env={"JAX_NUM_CPU_DEVICES": "8"},
  )
  _assert_refused(result, "batch_size", "8 x 1", "12")
  assert not (tmp_path / "run").exists()


def test_mesh_that_the_devices_do_not_fill(runner, tmp_path):
  result = runner.run(tmp_path / "run", "--config.mesh.fsdp=3")
  _assert_refused(result, "mesh.fsdp=3", "1 devices")
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["train", "evaluate", "search"])
def test_workdir_below_a_file(task, runner, tmp_path):
  (tmp_path / "file").write_text("kept")
  query = ("--query=car",) if task == "search" else ()
  config = None if task == "search" else "tests/tiny.py"
  result = runner.run(
    tmp_path / "file" / "run", f"--task={task}", *query, config=config
  )
  _assert_refused(result, "--workdir", str(tmp_path / "file"))
  assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.slow
def test_workdir_in_use(runner, reference, tmp_path):
  workdir = shutil.copytree(reference, tmp_path / "run")
  with open(workdir / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    _assert_refused(runner.run(workdir), "--workdir", "in use")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["resvg_py", "optax"])
def test_missing_package(package, runner, tmp_path):
  (tmp_path / "sitecustomize.py").write_text(
    "import sys\n"
    "class Hidden:\n"
    "  def find_spec(self, name, *args):\n"
    f"    if name == {package!r}:\n"
    "      raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
  )
  result = runs.Runner(tmp_path / "cache", runner.compiled).run(
    tmp_path / "run", env={"PYTHONPATH": str(tmp_path)}
  )
  _assert_refused(result, package.split("_")[0], "pip install")
  assert not list((tmp_path).glob("cache/emoji*"))


@pytest.mark.slow
def test_loss_that_is_not_a_number(runner, reference, tmp_path):
  result = runner.run(
    tmp_path / "run",
    "--config.optimizer.learning_rate=1e30",
    "--config.optimizer.warmup_steps=10",
    "--config.optimizer.clip_norm=0.0",
    "--config.checkpoint.every_steps=1",
    *_NO_EVALUATION,
  )
  assert result.code == 1
  error = result.stderr.strip().splitlines()[-1]
  assert error.startswith("error: ")
  assert "Traceback" not in result.stderr
  # The step is the one after the last that was written.
  good = runs.last_step(tmp_path / "run")
  assert f" at step {good + 1};" in error
  assert "optimizer.learning_rate" in error
  saved = {int(p.name) for p in (tmp_path / "run/checkpoints").iterdir()}
  assert max(saved) == good
  assert f"the checkpoint of step {good} is whole" in error
  arrays = runs.saved_arrays(tmp_path / "run", runner.cache_dir)
  assert all((abs(x) < float("inf")).all() for x in arrays.values())
  assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.slow
def test_full_disk(runner, reference, tmp_path):
  """The disk fills while checkpoints are saved, then there is room again."""
  disk = tmp_path / "disk"
  with runs.small_disk(disk, 2 * 2**20):
    result = runner.run(disk / "run", *_NO_EVALUATION)
    assert result.code == 1, result.stderr
    assert "Traceback" not in result.stderr
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: The disk is full"), result.stderr
    assert len(result.stderr.strip().splitlines()) <= 5, result.stderr
    saved = sorted(
      int(p.name)
      for p in (disk / "run" / "checkpoints").iterdir()
      if p.name.isdigit()
    )
    assert saved
    assert saved[-1] < 40
    # The saved state is whole: the run resumes elsewhere, equal to the bit.
    workdir = shutil.copytree(disk / "run", tmp_path / "run")
  result = runner.run(workdir, *_NO_EVALUATION)
  assert result.code == 0, result.stderr
  assert f"checkpoint of step {saved[-1]}" in result.stderr
  assert "not usable" not in result.stderr
  runs.assert_same_run(workdir, reference, runner.cache_dir)


@pytest.mark.slow
def test_full_disk_while_preparing(runner, tmp_path):
  disk = tmp_path / "disk"
  with runs.small_disk(disk, 2**20):
    full = runs.Runner(disk / "cache", runner.compiled)
    result = full.run(tmp_path / "run")
    assert result.code == 1
    assert "Traceback" not in result.stderr
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("error: cannot write prepared data below ")
    assert "No space left on device" in error
    assert str(disk / "cache") in error
    assert "data.cache_dir" in error
    assert os.listdir(disk / "cache") == [".lock"]


def test_no_disk_left_at_the_start(runner, reference, tmp_path):
  del reference
  disk = tmp_path / "disk"
  with runs.small_disk(disk, 2**20):
    (disk / "big").write_bytes(b"x" * (2**20 - 4096))
    result = runner.run(disk / "run")
    assert result.code == 1
    assert "Traceback" not in result.stderr
    assert "error: The disk is full" in result.stderr
    for path in (disk / "run").glob("*.json"):
      json.loads(path.read_text())
