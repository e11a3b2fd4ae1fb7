"""The folder of a run."""

import dataclasses
import json

import pytest

from runtime import failures, provenance
from tests import runs
from training.run import workdir


def test_claim_makes_the_folder(tmp_path):
  folder = tmp_path / "a" / "b"
  with workdir.claim(folder):
    assert folder.is_dir()


def test_claimed_twice(tmp_path):
  with (
    workdir.claim(tmp_path),
    pytest.raises(
      failures.RunError, match=f"--workdir={tmp_path} is in use by another"
    ),
    workdir.claim(tmp_path),
  ):
    pass
  with workdir.claim(tmp_path):  # and free again
    pass


def test_unwritable(tmp_path):
  (tmp_path / "file").write_text("")
  with (
    pytest.raises(failures.RunError, match=r"cannot be written \(Not a di"),
    workdir.claim(tmp_path / "file" / "run"),
  ):
    pass


def test_what_came_into_a_folder_is_deleted(tmp_path):
  folder = tmp_path / "a/b"
  restore = workdir.restorer(folder)
  (folder / "checkpoints").mkdir(parents=True)
  (folder / ".lock").touch()
  restore()
  assert not list(tmp_path.iterdir())
  folder.mkdir(parents=True)
  (folder / "notes").write_text("kept")
  (folder / "old").mkdir()
  restore = workdir.restorer(folder)
  (folder / "new").mkdir()
  (folder / "new/file").touch()
  (folder / "config.json").touch()
  restore()
  assert {path.name for path in folder.iterdir()} == {"notes", "old"}
  assert (folder / "notes").read_text() == "kept"


def test_a_folder_that_got_another_ones_files_stays(tmp_path):
  restore = workdir.restorer(tmp_path / "a/b")
  (tmp_path / "a/b").mkdir(parents=True)
  (tmp_path / "a/file").touch()
  restore()
  assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_config_round_trip(tmp_path):
  config = runs.make_config()
  assert workdir.read_config(tmp_path) is None
  workdir.write_config(tmp_path, config)
  assert workdir.read_config(tmp_path) == config
  written = json.loads((tmp_path / "config.json").read_text())
  assert written["versions"] == provenance.versions()
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_a_run_from_before_there_were_trackers(tmp_path):
  workdir.write_config(tmp_path, runs.make_config())
  path = tmp_path / "config.json"
  written = json.loads(path.read_text())
  del written["config"]["trackers"]
  path.write_text(json.dumps(written))
  started_with = workdir.read_config(tmp_path)
  assert started_with == runs.make_config()
  # A tracker may be added to it.
  changed = runs.make_config({"trackers.names": ("wandb",)})
  workdir.check_same(tmp_path, started_with, changed)


def test_a_run_from_before_a_share_was_held_out(tmp_path):
  workdir.write_config(tmp_path, runs.make_config())
  path = tmp_path / "config.json"
  written = json.loads(path.read_text())
  del written["config"]["evaluate"]["holdout"]
  path.write_text(json.dumps(written))
  started_with = workdir.read_config(tmp_path)
  assert started_with == runs.make_config()
  changed = runs.make_config({"evaluate.holdout": 0.1})
  with pytest.raises(
    failures.RunError, match=r"evaluate.holdout: 0.0 in the folder, 0.1 now"
  ):
    workdir.check_same(tmp_path, started_with, changed)


@pytest.mark.parametrize(
  "text", ["", "{", "[]", "{}", '{"config": {"seed": 1}}', "null"]
)
def test_config_that_cannot_be_read(text, tmp_path):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(workdir.WorkdirError, match=r"config.json cannot be read"):
    workdir.read_config(tmp_path)


_REFUSED = {
  "seed": 1,
  "batch_size": 8,
  "partition_rules": ((".*", ()),),
  "data.languages": ("de",),
  "data.image_size": 32,
  "data.augmentation.flip_probability": 0.5,
  "data.sources.main.repeat": 2,
  "model.image.depth": 3,
  "loss.name": "softmax",
  "optimizer.learning_rate": 0.5,
}
_FREE = {
  "total_steps": 80,
  "log_every_steps": 3,
  "mesh.fsdp": 2,
  "checkpoint.every_steps": 3,
  "checkpoint.keep": 9,
  "evaluate.every_steps": 3,
  "loss.block_size": 3,
  "model.remat": "block",
  "num_microbatches": 2,
  "text_lengths": (3,),
  "data.cache_dir": "elsewhere",
  "data.num_threads": 1,
  "data.num_prefetch_batches": 1,
  "data.num_workers": 1,
  "data.stall_seconds": 1.0,
  "data.max_bad_fraction": 0.5,
}


def _check(changes, tmp_path):
  workdir.check_same(tmp_path, runs.make_config(), runs.make_config(changes))


@pytest.mark.parametrize("name", _REFUSED)
def test_a_change_that_alters_the_result(name, tmp_path):
  with pytest.raises(failures.RunError) as raised:
    _check({name: _REFUSED[name]} | _FREE, tmp_path)
  text = str(raised.value)
  assert str(tmp_path) in text
  assert f"\n  {name}: " in text
  assert text.endswith(f"{_REFUSED[name]!r} now") or name == "data.image_size"
  for free in _FREE:
    assert free not in text


def test_microbatches_that_do_not_see_each_other_cannot_change(tmp_path):
  scope = {"loss.scope": "microbatch"}
  old, new = (runs.make_config(scope | {"num_microbatches": n}) for n in (1, 2))
  with pytest.raises(failures.RunError, match="num_microbatches: 1 in"):
    workdir.check_same(tmp_path, old, new)


@pytest.mark.parametrize("name", _FREE)
def test_a_change_that_does_not(name, tmp_path, capsys):
  _check({name: _FREE[name]}, tmp_path)
  said = capsys.readouterr().err
  assert f"Resuming with {name} changed from " in said
  assert f"to {_FREE[name]!r}" in said


def test_a_change_of_sets_is_one_line(tmp_path, capsys):
  old = runs.make_config()
  evaluate = dataclasses.replace(old.evaluate, sets={})
  new = dataclasses.replace(old, evaluate=evaluate)
  workdir.check_same(tmp_path, old, new)
  assert capsys.readouterr().err.splitlines() == [
    "Resuming with evaluate.sets changed: compositional, skin_tone,"
    " unseen_concept"
  ]


def test_every_difference_is_named(tmp_path):
  with pytest.raises(failures.RunError) as raised:
    _check(_REFUSED, tmp_path)
  for name in _REFUSED:
    assert f"\n  {name}: " in str(raised.value)


def test_no_change(tmp_path, capsys):
  _check({}, tmp_path)
  assert not capsys.readouterr().err


def test_steps_past_the_last_one(tmp_path):
  config = runs.make_config({"total_steps": 30})
  workdir.check_steps(tmp_path, config, [10, 30])
  with pytest.raises(workdir.WorkdirError, match="of step 31 .*total_steps=30"):
    workdir.check_steps(tmp_path, config, [10, 31])


def test_is_complete(tmp_path):
  config = runs.make_config({"total_steps": 30})
  assert not workdir.is_complete(tmp_path, config, [10, 30])
  for name in ("results.json", "report.html"):
    (tmp_path / name).write_text("{}")
  assert workdir.is_complete(tmp_path, config, [10, 30])
  assert not workdir.is_complete(tmp_path, config, [10, 20])
  assert not workdir.is_complete(tmp_path, config, [])
