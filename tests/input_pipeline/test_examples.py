"""One example: its random numbers, its faults and who takes its place."""

import dataclasses
import pickle

import grain
import numpy as np
import pytest

from input_pipeline import clocks, examples, faults, mixture
from input_pipeline.tokenizers import bytes as bytes_lib
from tests.input_pipeline import fake_records
from tests.input_pipeline.images import augmentations


def _maker(records, **changes) -> examples.Maker:
  maker = examples.Maker(
    sources=(examples.Source("main", records, ()),),
    languages=("en",),
    max_caption_chars=20,
    image_size=8,
    augmentation=augmentations.make(
      crop_scale=(0.5, 1.0), flip_probability=0.5
    ),
    tokenizer=bytes_lib.make_tokenizer(
      list,
      None,
      languages=("en",),
      vocab_size=300,
      num_tokens=16,
      path="",
    ),
    with_labels=False,
    seed=7,
    repeated={},
  )
  return dataclasses.replace(maker, **changes)


def _assert_same(left, right):
  assert left[examples.FAULTS] == right[examples.FAULTS]
  for name in ("images", "tokens"):
    np.testing.assert_array_equal(left[name], right[name])


def test_random_numbers_are_grains():
  """Or batches of one source would not be what they were."""

  def draw(_, rng):
    return rng.random(), rng.integers(9, dtype=np.uint32), rng.integers(9)

  seed = 5
  order = grain.MapDataset.source(range(9)).seed(seed).shuffle().repeat()
  dataset = order.random_map(draw)
  for position in (0, 8, 9, 7**20):
    rng = examples.rng(examples.example_seed(seed), position, 0)
    assert dataset[position] == draw(None, rng)


@pytest.mark.parametrize(
  "kind",
  [
    *("image", "caption", "read_failed", "shard_short", "shard_changed"),
    *("file_missing", "image_missing", "unsafe_member"),
  ],
)
def test_a_bad_example_is_replaced(kind):
  broken = dict.fromkeys(range(10), kind)
  expected = {"image": "image_broken", "caption": "caption_missing"}
  make = _maker(fake_records.Records("a", 40, broken))
  got = make(mixture.Draw(123, 0, 4))
  fault = got[examples.FAULTS][0]
  assert fault.kind == expected.get(kind, kind)
  assert fault.slot == (123, 0)
  assert (fault.source, fault.index) == ("main", 4)
  assert fault.key == ("a4" if kind in expected else "")
  # The same by another process, and whatever was made before.
  make(mixture.Draw(3, 0, 30))
  _assert_same(pickle.loads(pickle.dumps(make))(mixture.Draw(123, 0, 4)), got)
  # Another place, another substitute: the bad are not all replaced by one.
  texts = {
    make.tokenizer.decode(make(mixture.Draw(i, 0, 4))["tokens"])
    for i in range(8)
  }
  assert len(texts) > 4
  assert not any(f"a {i}" in texts for i in range(10))


@pytest.mark.parametrize("kind", ["image", "caption"])
def test_a_fault_names_the_file(kind):
  make = _maker(
    fake_records.Records("a", 40, {4: kind}, origin="x.tar, member")
  )
  (fault,) = make(mixture.Draw(123, 0, 4))[examples.FAULTS]
  assert fault.message.startswith("x.tar, member: ")


def test_a_caption_that_would_be_cut():
  short = bytes_lib.make_tokenizer(
    *(list, None), languages=("en",), vocab_size=300, num_tokens=4, path=""
  )
  records = fake_records.Records("a", 40, {})
  cut = _maker(records, tokenizer=short)(mixture.Draw(123, 0, 30))
  assert not cut[examples.FAULTS]
  make = _maker(records, tokenizer=short, cut_captions=False)
  got = make(mixture.Draw(123, 0, 30))
  fault = got[examples.FAULTS][0]
  assert fault.kind == "caption_too_long"
  assert "has 5 tokens; data.num_tokens=4" in fault.message
  assert len(short.decode(got["tokens"])) == len("a 3")


def test_a_substitute_may_be_bad_too():
  broken = dict.fromkeys(range(39), "image")
  make = _maker(fake_records.Records("a", 40, broken))
  got = make(mixture.Draw(5, 0, 1))
  assert make.tokenizer.decode(got["tokens"]) == "a 39"
  found = got[examples.FAULTS]
  assert [fault.attempt for fault in found] == list(range(len(found)))
  assert len({fault.index for fault in found}) > 5


def test_nothing_to_replace_it_by():
  broken = dict.fromkeys(range(4), "image")
  make = _maker(fake_records.Records("a", 4, broken))
  with pytest.raises(ValueError, match=r"main: 200 examples in a row .*a\d"):
    make(mixture.Draw(5, 0, 1))


def test_an_earlier_fault_happens_again():
  """A read that failed then and would not now."""
  broken = _maker(fake_records.Records("a", 40, {4: "read_failed"}))
  whole = _maker(fake_records.Records("a", 40))
  draw = mixture.Draw(123, 0, 4)
  expected = broken(draw)
  assert expected[examples.FAULTS]
  repeated = {fault.slot: fault for fault in expected[examples.FAULTS]}
  _assert_same(dataclasses.replace(whole, repeated=repeated)(draw), expected)
  assert not whole(draw)[examples.FAULTS]


def test_a_caption_that_is_too_long():
  make = _maker(fake_records.Records("a", 40), max_caption_chars=3)
  got = make(mixture.Draw(1, 0, 12))
  fault = got[examples.FAULTS][0]
  assert fault.kind == "caption_too_long"
  assert "4 characters; data.max_caption_chars=3" in fault.message
  assert len(make.tokenizer.decode(got["tokens"])) == 3


def test_a_defect_is_not_replaced():
  @dataclasses.dataclass
  class Broken(fake_records.Records):
    def __getitem__(self, index):
      raise ValueError("a defect")

  with pytest.raises(ValueError, match="example 2 of data.sources.main: a def"):
    _maker(Broken("a", 4))(mixture.Draw(0, 0, 2))


def test_stack():
  fault = faults.Fault(1, 0, "main", 2, "k", "image_broken", "text")
  made = [
    {"images": np.full((2, 2, 3), i, np.uint8), "faults": (fault,) * i}
    for i in range(3)
  ]
  batch = examples.stack(made)
  assert batch["images"].shape == (3, 2, 2, 3)
  assert batch["faults"] == [fault] * 3


def test_seconds_of_all_attempts_travel_with_the_example(tmp_path):
  records = fake_records.Records("a", 20, dict.fromkeys(range(18), "image"))
  maker = dataclasses.replace(
    _maker(records), clocks=clocks.Clocks(str(tmp_path))
  )
  batch = examples.stack([maker(mixture.Draw(i, 0, i)) for i in range(3)])
  seconds = batch[clocks.SECONDS]
  assert seconds.shape == (3, len(clocks.STAGES))
  work = clocks.pop(batch)
  assert (work.seconds > 0).all()
  assert set(batch) == {"images", "tokens", "faults"}
  (doing,) = clocks.look(str(tmp_path))
  assert not doing.stage
  assert doing.what.endswith("of main")


# The texts of FLORENCE: of one word, of two, and of more.
_SHORT = ("dog", "red fox", "a dog on a sofa")


class _Texts(fake_records.Records):
  """Examples with one text each, in turn those of _SHORT."""

  def __getitem__(self, index):
    text = _SHORT[index % 3]
    return dataclasses.replace(
      super().__getitem__(index), texts={"en": (text,)}
    )


def _short_maker(**changes):
  templates = ("a {} there", "the {}")
  source = examples.Source(
    "main", _Texts("a", 30), (), short_templates=templates, short_words=2
  )
  changes = {"with_metadata": True, "with_labels": True} | changes
  return _maker(_Texts("a", 30), sources=(source,), **changes)


def test_short_texts_alone_are_wrapped():
  make = _short_maker()
  drawn = [make(mixture.Draw(i, 0, i % 30)) for i in range(90)]
  captions = {x["caption"] for x in drawn}
  assert captions == {
    *(f"a {x} there" for x in _SHORT[:2]),
    *(f"the {x}" for x in _SHORT[:2]),
    _SHORT[2],
  }
  for one in drawn:
    is_own = one["caption"] == _SHORT[2]
    assert one["grammar"] == ("" if is_own else "augmented")


def test_a_prompt_leaves_the_label_as_it_is():
  """Equal texts match each other, whatever wraps them."""
  make = _short_maker()
  drawn = [make(mixture.Draw(i, 0, i % 30)) for i in range(90)]
  labels = {(i % 3, int(x["labels"])) for i, x in enumerate(drawn)}
  assert len(labels) == 3


def test_texts_of_a_provenance_are_left_out_without_a_fault():
  make = _short_maker(leave_out=("augmented",))
  for position in range(30):
    one = make(mixture.Draw(position, 0, position))
    assert one["caption"] == _SHORT[2]
    assert one[examples.FAULTS] == ()
    _assert_same(
      pickle.loads(pickle.dumps(make))(mixture.Draw(position, 0, position)), one
    )


def test_a_source_of_which_all_is_left_out_ends_the_run(monkeypatch):
  monkeypatch.setattr(f"{__name__}._SHORT", ("dog",) * 3)
  make = _short_maker(leave_out=("augmented",))
  with pytest.raises(
    ValueError, match=r"main: 200 .* but those of data\.leave"
  ):
    make(mixture.Draw(0, 0, 0))
