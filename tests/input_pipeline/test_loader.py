"""Faults as the training loop has them: counted, written, repeated, too many.

Checkpoints with a Loader's position are in tests/training/test_checkpointing.
"""

import collections
import dataclasses
import json
import shutil

import numpy as np
import pytest

from input_pipeline import ledger, loader, pipeline, sources
from input_pipeline.sources import image_ids
from runtime import failures
from tests.input_pipeline import fake_source

BATCH_SIZE = 6


class Data:
  """A source of 40 examples, some bad, and loaders over it."""

  def __init__(self, monkeypatch, folder, broken, **changes):
    self.folder = folder / "run"
    self.folder.mkdir()
    self.records = fake_source.Records("a", 40, dict(broken))
    opened = {"main": self.records}
    monkeypatch.setitem(sources.FORMATS, "fake", fake_source.format_of(opened))
    changes = {"max_bad_fraction": 1.0} | changes
    self.config = fake_source.config(folder, **changes)

  def start(self, position=0, config=None, **options) -> loader.Loader:
    options = {"folder": self.folder, "batch_size": BATCH_SIZE} | options
    made = loader.make_loader(config or self.config, seed=0, **options)
    made.set_state({"next_index": position})
    return made

  def lines(self, name="data_errors.jsonl"):
    text = (self.folder / name).read_text()
    return [json.loads(line) for line in text.splitlines()]

  def faults(self, name="data_errors.jsonl"):
    return [line for line in self.lines(name) if "kind" in line]


def _take(made, num):
  batches = [next(made) for _ in range(num)]
  made.sync()
  made.close()
  return batches


def _assert_equal(left, right):
  assert len(left) == len(right)
  for a, b in zip(left, right, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


class Pictures(fake_source.Records):
  """Examples of which two have one picture."""

  def image_id(self, index):
    return image_ids.of_bytes(b"%d" % (index // 2))


def test_held_out_examples_are_in_no_batch(monkeypatch, tmp_path):
  data = Data(monkeypatch, tmp_path, {5: "caption"})
  data.records = Pictures("a", 40, {5: "caption"})
  opened = fake_source.format_of({"main": data.records})
  monkeypatch.setitem(sources.FORMATS, "fake", opened)
  made = data.start(share=0.3)
  split = pipeline.split_source(data.config, "main", 0.3)
  rest = sorted({*range(40)} - {*split.rows.tolist()})
  assert 0 < len(rest) < 40
  assert not {i // 2 for i in rest} & {i // 2 for i in split.rows.tolist()}
  assert made.num_examples == {"main": len(rest)}
  count = f"{len(split.rows)} examples of {len(split.rows) // 2} images"
  assert made.held_out == {"main": count}
  batches = _take(made, 2 * len(rest) // BATCH_SIZE)
  texts = collections.Counter(fake_source.captions(data.config, batches))
  assert {*texts} == {f"a {i}" for i in rest} - {"a 5"}
  # Each once an epoch, and once more in place of a bad one, at most.
  assert max(texts.values()) <= 3

  # Resumed, the same; with other images, refused.
  again = data.start(3, share=0.3)
  again.check_unchanged()
  _assert_equal(_take(again, 2), batches[3:5])
  data.records.image_id = lambda i: image_ids.of_bytes(b"new %d" % (i // 2))
  shutil.rmtree(tmp_path / "image_ids")
  moved = data.start(3, share=0.3)
  with pytest.raises(ValueError, match=r"data.sources.main has"):
    moved.check_unchanged()
  moved.close()


def test_facts_of_what_is_held_out(monkeypatch, tmp_path):
  facts = {"examples": 2, "images": 1, "digest": "a"}
  made = ledger.Ledger(tmp_path, batch_size=1)
  made.write_facts({"main": ledger.Facts(8, "f", facts)})
  made.check_facts({"main": ledger.Facts(8, "f", dict(facts))})
  ledger.check_held_out(tmp_path, {"main": facts, "new": None})
  ledger.check_held_out(tmp_path / "new", {"main": facts})
  other = {"main": ledger.Facts(8, "f", facts | {"digest": "b"})}
  with pytest.raises(ValueError, match="that were trained on: bring back"):
    made.check_facts(other)
  # Of a run of an earlier version.
  path = tmp_path / "data_sources.json"
  path.write_text('{"main": {"examples": 8, "fingerprint": "f"}}')
  made.check_facts({"main": ledger.Facts(8, "f")})
  with pytest.raises(ValueError, match=r"data.sources.main has other images"):
    ledger.check_held_out(tmp_path, {"main": facts})


def test_batches_are_arrays_and_faults_are_written(
  monkeypatch, tmp_path, caplog
):
  broken = {3: "image", 9: "image", 20: "caption", 31: "shard_short"}
  data = Data(monkeypatch, tmp_path, broken)
  made = data.start()
  batches = _take(made, 20)  # 120 examples: three epochs
  assert all(set(batch) == {"images", "tokens"} for batch in batches)
  texts = collections.Counter(fake_source.captions(data.config, batches))
  assert not {f"a {i}" for i in broken} & set(texts)
  # Each is due once an epoch, and may be drawn as a substitute too.
  due = [line for line in data.faults() if not line["attempt"]]
  assert collections.Counter(line["index"] for line in due) == dict.fromkeys(
    broken, 3
  )
  assert {line["index"]: line["kind"] for line in due} == {
    3: "image_broken",
    9: "image_broken",
    20: "caption_missing",
    31: "shard_short",
  }
  first = due[0]
  assert first["source"] == "main"
  assert 0 <= first["row"] < BATCH_SIZE
  total = data.lines()[-1]
  assert total["step"] == 20
  assert total["examples"] == 120
  assert sum(total["totals"]["main"].values()) == len(data.faults())
  assert total["replaced"] == len(due)
  assert made.bad_fraction == len(due) / 120
  assert f"{total['totals']['main']['shard_short']} shard_short" in (
    made.summary()
  )
  # The first of each kind, and all at the tenth.
  named = [text for text in caplog.messages if text.startswith("Left out of")]
  assert len([text for text in named if "of the batches" in text]) == 3
  assert len([text for text in named if "so far" in text]) == 1


def test_without_faults_there_is_no_file(monkeypatch, tmp_path):
  data = Data(monkeypatch, tmp_path, {})
  made = data.start()
  _take(made, 3)
  assert made.summary() == ""
  assert made.bad_fraction == 0
  assert not list(data.folder.glob("data_errors*"))


def test_what_was_made_in_advance_does_not_count(monkeypatch, tmp_path):
  broken = dict.fromkeys(range(30), "image")
  data = Data(monkeypatch, tmp_path, broken, num_prefetch_batches=10)
  _take(data.start(), 1)
  assert {line["step"] for line in data.faults()} == {0}


@pytest.mark.parametrize("num_threads", [0, 3])
def test_a_resumed_run_goes_on_as_the_other_did(
  monkeypatch, tmp_path, num_threads
):
  """Reads that failed once fail again; no line is written twice."""
  broken = {3: "image"} | dict.fromkeys(range(10, 20), "read_failed")
  data = Data(monkeypatch, tmp_path, broken)
  whole = data.start()
  expected = [next(whole) for _ in range(4)]
  whole.sync()  # a checkpoint of step 4
  expected += [next(whole) for _ in range(8)]
  whole.sync()
  whole.close()
  before = data.lines()
  # The disk is back. Half a line is what a kill leaves.
  for index in range(10, 20):
    del data.records.broken[index]
  with open(data.folder / "data_errors.jsonl", "a") as file:
    file.write('{"step": 12, "row"')
  config = dataclasses.replace(data.config, num_threads=num_threads)
  resumed = data.start(4, config)
  _assert_equal(_take(resumed, 8), expected[4:])
  assert resumed.summary() == whole.summary()
  assert resumed.bad_fraction == whole.bad_fraction
  path = data.folder / "data_errors.jsonl"
  assert path.read_text().endswith('"row"')  # nothing was to be written
  # Later the disk is well; what follows a cut line is a line of its own.
  _take(data.start(12), 20)
  assert data.lines()[: len(before)] == before
  assert {
    line["kind"] for line in data.lines()[len(before) :] if "kind" in line
  } == {"image_broken"}


def test_resume_with_other_hosts(monkeypatch, tmp_path):
  broken = dict.fromkeys(range(0, 40, 5), "read_failed")
  data = Data(monkeypatch, tmp_path, broken)
  shares = [range(0, 3), range(3, 6)]
  halves = [
    data.start(rows=rows, process_index=i) for i, rows in enumerate(shares)
  ]
  parts = [_take(half, 10) for half in halves]
  both = data.faults() + data.faults("data_errors.1.jsonl")
  assert {line["row"] // 3 for line in data.faults()} == {0}
  assert {line["row"] // 3 for line in data.faults("data_errors.1.jsonl")} == {
    1
  }
  data.records.broken.clear()
  alone = _take(data.start(2), 8)
  for batch, *half in zip(alone, *(part[2:] for part in parts), strict=True):
    for name in batch:
      np.testing.assert_array_equal(
        batch[name], np.concatenate([rows[name] for rows in half])
      )
  assert data.faults() + data.faults("data_errors.1.jsonl") == both


def test_many_of_a_kind_are_counted_only(monkeypatch, tmp_path):
  monkeypatch.setattr(ledger, "MAX_LINES", 4)
  broken = {1: "file_missing", 2: "file_missing"}
  broken |= dict.fromkeys(range(3, 13), "image")
  data = Data(monkeypatch, tmp_path, broken)
  _take(data.start(), 20)
  kinds = collections.Counter(line["kind"] for line in data.faults())
  assert kinds["image_broken"] == 4
  # But each that a resumed run has to repeat.
  totals = data.lines()[-1]["totals"]["main"]
  assert kinds["file_missing"] == totals["file_missing"] > 4
  assert totals["image_broken"] >= 30


def _until(made, num):
  """Return how many batches there are before an error, and the error."""
  for i in range(num):
    try:
      next(made)
    except loader.BadDataError as error:
      made.close()
      # The message of main.py, instead of a traceback.
      return i, failures.describe(error)
  made.close()
  return num, ""


def test_too_many(monkeypatch, tmp_path):
  # A fifth of an epoch of 40.
  broken = dict.fromkeys(range(7), "image") | {7: "file_missing"}
  data = Data(monkeypatch, tmp_path, broken, max_bad_fraction=0.01)
  num, text = _until(data.start(), 40)
  # 10 of 1,000 are allowed, and 9.5 by chance: the 20th is too many.
  due = [line for line in data.faults() if not line["attempt"]]
  assert len(due) >= 20
  assert len([line for line in due if line["step"] < num]) < 20
  assert text.startswith(f"{len(due)} of {BATCH_SIZE * (num + 1)} examples")
  assert "data.max_bad_fraction=0.01 allows of 1000 (19, chance incl" in text
  assert "example a" in text
  assert "image_broken" in text
  assert "the same command then goes on" in text


@pytest.mark.parametrize(("fraction", "stops"), [(0.0, True), (0.05, False)])
def test_how_many_are_allowed(monkeypatch, tmp_path, fraction, stops):
  """One of 40, in every epoch."""
  data = Data(monkeypatch, tmp_path, {3: "image"}, max_bad_fraction=fraction)
  num, text = _until(data.start(), 40)
  assert bool(text) == stops
  assert (num < 7) == stops  # in the first epoch


def test_other_data_at_a_resume(monkeypatch, tmp_path, caplog):
  data = Data(monkeypatch, tmp_path, {})
  first = data.start()
  first.check_unchanged()  # nothing was saved yet
  _take(first, 1)
  data.start(1).check_unchanged()
  assert not caplog.messages
  data.records.name = "b"
  data.start(1).check_unchanged()
  assert "data.sources.main have changed since" in caplog.text
  data.records.num = 41
  with pytest.raises(ValueError, match="has 41 examples and had 40 when .*run"):
    data.start(1).check_unchanged()


@pytest.mark.parametrize(
  ("broken", "message"),
  [
    ("image", "none of the first 40 .* image_broken: cannot decode"),
    ("read_failed", "none of the first 40 .* read_failed: fault of 0"),
    (
      "caption",
      r"first 40 examples of data.sources.main has a caption; .*\[\]",
    ),
  ],
)
def test_a_source_without_a_good_example(
  monkeypatch, tmp_path, broken, message
):
  data = Data(monkeypatch, tmp_path, dict.fromkeys(range(40), broken))
  with pytest.raises(ValueError, match=message):
    data.start()
  assert not list(data.folder.iterdir())


def test_a_phase_begins_at_its_batch_and_counts_for_itself(
  monkeypatch, tmp_path
):
  data = Data(monkeypatch, tmp_path, {3: "image", 9: "image", 20: "caption"})
  whole = _take(data.start(folder=None), 14)
  first = ledger.Phase("first", 0, 0)
  made = loader.make_loader(
    data.config,
    **{"folder": data.folder, "batch_size": BATCH_SIZE, "seed": 0},
    phase=first,
  )
  _assert_equal(_take(made, 6), whole[:6])
  # Half the batch: 12 batches of 3 are behind it at step 6.
  second = ledger.Phase("second", 6, 12)
  options = {"folder": data.folder, "batch_size": 3, "seed": 0}
  made = loader.make_loader(data.config, **options, phase=second)
  assert made.get_state() == {"next_index": 12}
  halves = _take(made, 16)
  for step, batch in enumerate(whole[6:]):
    for part in (0, 1):
      np.testing.assert_array_equal(
        halves[2 * step + part]["tokens"],
        batch["tokens"][3 * part : 3 * part + 3],
      )
  steps = {"first": range(6), "second": range(6, 22)}
  assert {x["phase"] for x in data.faults()} == {*steps}
  assert all(x["step"] in steps[x["phase"]] for x in data.faults())
  assert data.lines()[-1]["step"] == 22  # the totals
  # Resumed within the phase, its counts alone are there.
  made = loader.make_loader(data.config, **options, phase=second)
  made.set_state({"next_index": 28})
  (last,) = [x for x in data.lines() if "totals" in x and x["step"] == 22]
  assert last["phase"] == "second"
  assert made.summary() == "main: " + ", ".join(
    f"{n} {kind}" for kind, n in last["totals"]["main"].items()
  )
  made.check_unchanged()
  made.close()
  names = {path.name for path in data.folder.glob("data_sources*")}
  assert names == {"data_sources.json", "data_sources.second.json"}
