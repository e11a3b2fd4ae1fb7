"""The chain: order, slices, resume, languages, and what a config may say."""

import collections
import dataclasses
import io
import itertools
import pathlib

import grain
import numpy as np
import pytest
from PIL import Image

from configs import base
from configs.parts import sources
from input_pipeline import pipeline, tokenizers
from input_pipeline.images import picture
from input_pipeline.sources import array_record, emoji, prepared
from tests.input_pipeline import splits
from tests.input_pipeline.images import augmentations
from training import config as config_lib

NUM_EXAMPLES = 23


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> pipeline.DataConfig:
  """Return a config over 23 flat pictures, of level 10 i, in two languages."""
  folder = tmp_path_factory.mktemp("tiny") / "data"

  def make() -> prepared.Splits:
    records = [
      array_record.Record(
        f"k{i}", _png(i), {"en": (f"dog {i}",), "de": (f"hund {i}",)}
      )
      for i in range(NUM_EXAMPLES)
    ]
    return {"train": records, "test": records[:2]}

  prepared.prepare(folder, make, versions={})
  config = base.get_config().data
  config.sources.main = sources.source(
    format="array_record", path=str(folder), split="train"
  )
  config.cache_dir = str(folder.parent / "cache")
  config.image_size = 8
  config.tokenizer = "bytes"
  return section(config)


def section(values) -> pipeline.DataConfig:
  """Return the checked section of a config's `data`."""
  config = base.get_config()
  config.data = values
  return config_lib.from_mapping(config.to_dict()).data


def _png(i: int) -> bytes:
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8), (10 * i,) * 3).save(buffer, "PNG")
  return buffer.getvalue()


def _batches(config, num, batch_size=8, seed=0, **options):
  dataset = pipeline.make_train_dataset(
    config, batch_size=batch_size, seed=seed, **options
  )
  return list(itertools.islice(dataset, num))


def _indices(batches) -> list[int]:
  """Return which examples the batches hold, read off their flat pictures."""
  levels = np.concatenate([batch["images"][:, 0, 0, 0] for batch in batches])
  return [int(level) // 10 for level in levels]


def _assert_equal(left, right):
  assert len(left) == len(right)
  for a, b in zip(left, right, strict=True):
    np.testing.assert_array_equal(a["images"], b["images"])
    np.testing.assert_array_equal(a["tokens"], b["tokens"])


def test_data_has_the_fields_of_the_config():
  fields = {field.name for field in dataclasses.fields(pipeline.DataConfig)}
  assert fields == set(base.get_config().data.keys())


def test_batch(tiny):
  (batch,) = _batches(tiny, 1)
  assert batch["images"].shape == (8, 8, 8, 3)
  assert batch["images"].dtype == np.uint8
  assert batch["tokens"].shape == (8, tiny.num_tokens)
  assert batch["tokens"].dtype == np.int32


def test_training_cuts_captions_to_its_own_length(tiny):
  """Rows are those of a tokenizer of that length: the end of text is there."""
  short = dataclasses.replace(tiny, train_num_tokens=4)
  tokens, whole = (_batches(x, 1)[0]["tokens"] for x in (short, tiny))
  assert tokens.shape == (8, 4)
  np.testing.assert_array_equal(tokens[:, :3], whole[:, :3])
  assert set(tokens[:, 3]) == {pipeline.make_tokenizer(tiny).eos_id}
  assert pipeline.make_tokenizer(short).num_tokens == tiny.num_tokens


def test_image_and_text_stay_together(tiny):
  tokenizer = pipeline.make_tokenizer(tiny)
  for batch in _batches(tiny, 10):
    for i, ids in zip(_indices([batch]), batch["tokens"], strict=True):
      assert tokenizer.decode(ids) == f"dog {i}"


def test_each_epoch_has_all_examples_in_a_new_order(tiny):
  # 23 batches of 8 are 8 epochs of 23; their borders are inside batches.
  stream = _indices(_batches(tiny, NUM_EXAMPLES))
  epochs = [
    tuple(stream[start : start + NUM_EXAMPLES])
    for start in range(0, len(stream), NUM_EXAMPLES)
  ]
  assert len(epochs) == 8
  for epoch in epochs:
    assert sorted(epoch) == list(range(NUM_EXAMPLES))
  assert len(set(epochs)) == 8


def test_seed_changes_the_order(tiny):
  assert _indices(_batches(tiny, 3, seed=0)) != _indices(
    _batches(tiny, 3, seed=1)
  )


@pytest.mark.parametrize(
  "shares",
  [
    ((0, 1, 2, 3), (4, 5, 6, 7)),
    ((0, 1), (2, 3), (4, 5), (6, 7)),
    ((0, 1, 4, 5), (2, 3, 6, 7)),  # as a TPU's network may have it
    ((0, 1, 2, 3), (0, 1, 2, 3), (4, 5, 6, 7), (4, 5, 6, 7)),  # "tensor"
  ],
)
def test_processes_share_one_stream(tiny, shares):
  """The global batch does not depend on how many processes read it.

  So shares are complete over every epoch, whether or not its length is a
  multiple of anything.
  """
  config = dataclasses.replace(
    tiny,
    languages=("en", "de"),
    augmentation=augmentations.make(
      crop_scale=(0.5, 2.0), flip_probability=0.5
    ),
  )
  alone = _batches(config, 6)
  for rows in shares:
    parts = _batches(config, 6, rows=rows)
    for part, batch in zip(parts, alone, strict=True):
      for name in ("images", "tokens"):
        np.testing.assert_array_equal(part[name], batch[name][list(rows)])


def test_a_position_is_the_same_for_every_share(tiny):
  def after_3(rows):
    iterator = iter(
      pipeline.make_train_dataset(tiny, batch_size=8, seed=0, rows=rows)
    )
    for _ in range(3):
      next(iterator)
    return iterator

  half = after_3((4, 5, 6, 7))
  whole = after_3(None)
  assert half.get_state() == whole.get_state()
  expected = next(half)
  next(whole)
  other = after_3((4, 5, 6, 7))
  other.set_state(whole.get_state())
  assert other.get_state() == half.get_state()
  half.set_state(after_3(None).get_state())
  np.testing.assert_array_equal(next(half)["tokens"], expected["tokens"])


def test_threads_do_not_change_the_data(tiny):
  config = dataclasses.replace(
    tiny,
    languages=("en", "de"),
    augmentation=augmentations.make(
      crop_scale=(0.5, 2.0), flip_probability=0.5
    ),
  )
  expected = _batches(dataclasses.replace(config, num_threads=0), 12)
  for num_threads, num_batches in ((1, 1), (2, 4), (5, 2)):
    got = _batches(
      dataclasses.replace(
        config, num_threads=num_threads, num_prefetch_batches=num_batches
      ),
      12,
    )
    _assert_equal(got, expected)


def test_state_is_small_and_resume_exact(tiny):
  config = dataclasses.replace(
    tiny,
    languages=("en", "de"),
    augmentation=augmentations.make(
      crop_scale=(0.5, 2.0), flip_probability=0.5
    ),
  )
  expected = _batches(config, 12)
  for stop in (0, 1, 5, 11):
    iterator = iter(pipeline.make_train_dataset(config, batch_size=8, seed=0))
    for _ in range(stop):
      next(iterator)
    state = iterator.get_state()
    assert len(repr(state)) < 100
    resumed = iter(pipeline.make_train_dataset(config, batch_size=8, seed=0))
    resumed.set_state(state)
    _assert_equal(list(itertools.islice(resumed, 12 - stop)), expected[stop:])


def test_grain_agrees_that_resume_is_exact(tiny, monkeypatch):
  # Grain's own check reads a data set to its end, so this one gets an end.
  repeat = grain.MapDataset.repeat
  monkeypatch.setattr(
    grain.MapDataset, "repeat", lambda dataset: repeat(dataset, 3)
  )
  dataset = pipeline.make_train_dataset(tiny, batch_size=8, seed=0)
  assert len(list(dataset)) == 3 * NUM_EXAMPLES // 8
  grain.experimental.assert_equal_output_after_checkpoint(dataset)


def test_caption_and_crop_are_drawn_anew_each_epoch(tiny):
  config = dataclasses.replace(
    tiny,
    languages=("en", "de"),
    augmentation=augmentations.make(
      crop_scale=(1.0, 2.0), flip_probability=0.0
    ),
  )
  tokenizer = pipeline.make_tokenizer(config)
  captions = collections.defaultdict(set)
  pictures = collections.defaultdict(set)
  for batch in _batches(config, NUM_EXAMPLES * 2):
    for image, ids in zip(batch["images"], batch["tokens"], strict=True):
      word, index = tokenizer.decode(ids).split()
      captions[index].add(word)
      pictures[index].add(image.tobytes())
  assert len(captions) == NUM_EXAMPLES
  # 16 epochs: one language throughout has a chance of 23 / 2^15 in all.
  assert all(words == {"dog", "hund"} for words in captions.values())
  assert all(len(crops) > 8 for crops in pictures.values())


@pytest.mark.slow
def test_all_languages_of_the_emoji_are_drawn(config):
  languages = emoji.LANGUAGES
  assert len(languages) == 14
  config = dataclasses.replace(
    config, languages=languages, tokenizer="bytes", num_tokens=400
  )
  tokenizer = pipeline.make_tokenizer(config)
  homes = collections.defaultdict(set)
  for language, names in splits.all_texts(config).items():
    for name in names:
      homes[tokenizer.decode(tokenizer([name])[0])].add(language)
  counts = collections.Counter()
  for batch in _batches(config, 2, batch_size=500):
    for ids in batch["tokens"]:
      for language in homes[tokenizer.decode(ids)]:
        counts[language] += 1
  # 1000 draws are 71 a language; 5 standard deviations are 41. Names that are
  # the same in two languages only add.
  assert set(counts) == set(languages)
  assert min(counts.values()) >= 30


def test_prepare_is_idempotent(config):
  def times():
    files = pathlib.Path(config.cache_dir).glob("emoji-*/*")
    return {path: path.stat().st_mtime_ns for path in files}

  pipeline.prepare(config)
  before = times()
  assert before
  pipeline.prepare(config)
  assert times() == before


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"tokenizer": "x"}, r"data.tokenizer must be one of .*bpe.*got 'x'"),
    (
      {"tokenizer_path": "x"},
      r'data.tokenizer_path must be "" for data.tokenizer="bpe".*got \'x\'',
    ),
    ({"languages": ("en", "xx")}, r"data.languages .*'de', 'en'.*'xx'"),
    ({"languages": ()}, r"data.languages .*got \[\]"),
    ({"languages": ("en", "en")}, r"data.languages .*each once"),
    ({"languages": "en"}, r"data.languages .*got 'en'"),
    ({"image_size": 0}, r"data.image_size must be at least 1; got 0"),
    ({"num_tokens": 1}, r"data.num_tokens must be at least 2; got 1"),
    ({"num_threads": -1}, r"data.num_threads .*got -1"),
    ({"num_prefetch_batches": -1}, r"data.num_prefetch_batches .*got -1"),
  ],
)
def test_check(config, changes, message):
  config.check()
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(config, **changes).check()


def test_vocabulary_of_the_users(tiny, tmp_path):
  """A config is sound without it: only what needs the tokenizer asks."""
  config = dataclasses.replace(tiny, tokenizer="wordpiece")
  config.check()
  with pytest.raises(FileNotFoundError, match="config.data.tokenizer_path"):
    pipeline.make_train_dataset(config, batch_size=2, seed=0)
  marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
  words = [*marks, "dog", *(str(i) for i in range(100))]
  (tmp_path / "vocab.txt").write_text("\n".join(words))
  config = dataclasses.replace(config, tokenizer_path=str(tmp_path))
  batch = next(iter(pipeline.make_train_dataset(config, batch_size=2, seed=0)))
  for row in batch["tokens"]:
    assert row[:2].tolist() == [2, 4]
    assert row[3] == 3
    assert words[row[2]].isdigit()
  config = dataclasses.replace(config, vocab_size=len(words) - 1)
  with pytest.raises(ValueError, match="data.vocab_size of at least 105"):
    pipeline.make_tokenizer(config)


def test_no_vocabulary_is_trained_on_held_out_captions(config, monkeypatch):
  trained = []

  def make(texts, folder, **options):
    trained.append((folder, texts()))

  monkeypatch.setitem(tokenizers.TOKENIZERS, "bpe", make)
  pipeline.make_tokenizer(config)
  pipeline.make_tokenizer(config, share=0.25)
  (folder, every), (other, texts) = trained
  assert folder != other
  split = pipeline.split_source(config, "main", 0.25)
  images = split.images()
  held = {t for i in range(len(images)) for t in images[i].texts["en"]}
  assert len(every) == len(split.records)
  assert len(texts) == len(split.rest)
  # No two of the emoji have one name.
  assert not held & set(texts)
  # Within the split that is trained on; drawings that are the same together.
  assert len(images) < len(split.rows) < 0.3 * len(every)


def test_language_that_a_folder_lacks(tiny):
  config = dataclasses.replace(tiny, languages=("fr",))
  with pytest.raises(ValueError, match=r"data.languages .*'de', 'en'.*'fr'"):
    pipeline.prepare(config)


def test_folder_without_data(tiny, tmp_path):
  main = dataclasses.replace(tiny.sources["main"], path=str(tmp_path))
  config = dataclasses.replace(tiny, sources={"main": main})
  with pytest.raises(ValueError, match="sources.main.path.*no manifest.json"):
    pipeline.prepare(config)


def test_patches_in_training_and_evaluation(tiny):
  augmentation = dataclasses.replace(
    tiny.augmentation, resize="naflex", patch_size=4, max_num_patches=6
  )
  config = dataclasses.replace(tiny, augmentation=augmentation, num_threads=0)
  (batch,) = _batches(config, 1)
  assert batch["images"].shape == (8, 6, 4 * 4 * 3)
  # Drawings of 8 x 8 pixels: 4 patches, 2 of padding.
  np.testing.assert_array_equal(batch["shapes"], [[2, 2]] * 8)
  split = splits.open_split(config, "test")
  (batch,) = split.batches(2)
  patches, shapes = batch.images
  assert patches.shape == (2, 6, 48)
  np.testing.assert_array_equal(shapes, [[2, 2]] * 2)
  assert split.image(0).shape == (8, 8, 3)
  (none,) = split.batches(2, places=())  # a process without rows in it
  assert [x.shape for x in none.images] == [(0, 6, 48), (0, 2)]
  assert [x.dtype for x in none.images] == [patches.dtype, shapes.dtype]


@pytest.mark.parametrize("rows", [(), (7, 8), (-1, 0)])
def test_rows_that_a_batch_has_not(tiny, rows):
  with pytest.raises(ValueError, match="rows must be of 0 to 7"):
    pipeline.make_train_dataset(tiny, batch_size=8, seed=0, rows=rows)


def test_broken_example_is_named(tiny, monkeypatch):
  def fail(data):
    raise ValueError("cannot decode image")

  config = dataclasses.replace(tiny, num_threads=0)
  dataset = pipeline.make_train_dataset(config, batch_size=8, seed=0)
  monkeypatch.setattr(picture, "open_picture", fail)
  with pytest.raises(ValueError, match=r"example k\d+: cannot decode"):
    next(iter(dataset))
