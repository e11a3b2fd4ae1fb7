import dataclasses
import io
import json
import re

import numpy as np
import pytest
import tokenizers
from PIL import Image

from configs import base
from configs.parts import sources
from input_pipeline import faults, ledger, pipeline
from input_pipeline.images import naflex
from input_pipeline.inspecting import inspection, inspection_page
from input_pipeline.sources import record as record_lib
from input_pipeline.tokenizers import rules, tokenizer
from runtime import failures
from training import config as config_lib


@pytest.fixture(scope="module")
def small(cache_dir):
  """Return a whole config on small drawings, with nothing to train."""
  values = base.get_config()
  values.data.sources.main = sources.source(format="emoji", split="train")
  values.batch_size = 4
  values.data.cache_dir = str(cache_dir)
  values.data.tokenizer = "bytes"
  values.data.augmentation.crop_scale = (0.5, 1.2)
  values.data.augmentation.flip_probability = 0.5
  return config_lib.from_mapping(values.to_dict())


class _Letters:
  """A codec of single letters; id 9 is unknown."""

  vocab_size = 40
  unk_id = 9

  def encode(self, text):
    return [10 + ord(c) - 97 if c.isalpha() else 9 for c in text]

  def decode(self, ids):
    return "".join(chr(97 + i - 10) for i in ids)


def _png(shape=(6, 8), colour=(1, 2, 3)):
  buffer = io.BytesIO()
  Image.new("RGB", shape[::-1], colour).save(buffer, "PNG")
  return buffer.getvalue()


@pytest.mark.parametrize("count", [3, 4, 10])
def test_examples_are_the_run_s(small, count):
  shown, replaced = inspection.first_examples(
    small.data, batch_size=4, seed=7, count=count
  )
  assert replaced == []
  assert [(one.step, one.row) for one in shown] == [
    divmod(i, 4) for i in range(count)
  ]
  train = pipeline.make_train_dataset(small.data, batch_size=4, seed=7)
  batches = dict(zip(range(3), train, strict=False))
  for one in shown:
    batch = batches[one.step]
    np.testing.assert_array_equal(one.image, batch["images"][one.row])
    ids = [piece.id for piece in one.pieces]
    assert ids == batch["tokens"][one.row].tolist()
    assert one.caption.lower().startswith(one.decoded[:8])
    assert one.source == "main"
    assert one.language == "en"


@pytest.mark.parametrize(
  ("rule", "text", "kinds"),
  [
    (rules.Rule(6, 0, 1, 2), "a?", "mark text unknown mark padding padding"),
    (rules.Rule(5, 1, 1), "ab", "text text mark padding padding"),
    (rules.Rule(4, 0, None, 2), "a", "mark text padding padding"),
    (rules.Rule(4, 0, 1, 2), "abcd", "mark text text mark"),
    (rules.Rule(5, 0, 1, pad_left=True), "a", "padding padding padding text m"),
    # 10 is "a" and padding: with an end, what precedes it is text.
    (rules.Rule(5, 10, 1), "aa", "text text mark padding padding"),
  ],
)
def test_pieces(rule, text, kinds):
  made = tokenizer.Tokenizer(_Letters(), rule)
  got = inspection.pieces(made, made([text])[0])
  wanted = ["mark" if kind == "m" else kind for kind in kinds.split()]
  assert [piece.kind for piece in got] == wanted
  letters = "".join(piece.text for piece in got)
  assert letters == text.replace("?", "")[: len(letters)]
  assert letters
  assert made.num_ids(text) == len(text) + rule.num_marks


class _Records(list):
  def fingerprint(self):
    return "0"


def test_examples_of_a_phase_begin_at_its_first_step(small):
  facts = {"batch_size": 4, "seed": 7}
  whole, _ = inspection.first_examples(small.data, count=12, **facts)
  phase = ledger.Phase("plain", first_step=6, first_batch=2)
  shown, _ = inspection.first_examples(
    small.data, count=4, phase=phase, **facts
  )
  assert [(one.step, one.row) for one in shown] == [(6, i) for i in range(4)]
  assert [one.key for one in shown] == [one.key for one in whole[8:]]


def test_survey_names_faults_and_the_page_is_safe(small):
  bad = "<script>alert(1)</script>"
  records = _Records(
    record_lib.Record(f"key{i}", _png(), {"en": (bad,)}) for i in range(8)
  )
  records[2] = dataclasses.replace(records[2], image=_png()[:50])
  records[3] = dataclasses.replace(
    records[3], image=b"<html>", origin="a.tar, key3"
  )
  records[5] = dataclasses.replace(records[5], texts={"de": ("ja",)})
  (one,) = inspection.survey(small.data, {"main": records})
  assert [kind for kind, _ in one.faults] == [
    *("image_broken", "image_broken", "caption_missing")
  ]
  assert one.faults[0][1].startswith("key2: ")
  assert one.faults[1][1].startswith("a.tar, key3: cannot decode image of 6")
  assert one.sizes == ((6, 8),) * 5
  assert one.share == 1
  assert one.num_ids == (len(bad) + 1,) * 5

  shown = inspection.Shown(
    step=0,
    row=0,
    key=bad,
    source="main",
    language="en",
    caption=bad,
    image=np.zeros((4, 4, 3), np.uint8),
    pieces=(inspection.Piece(3, bad, "text"),),
    decoded=bad,
    num_ids=26,
  )
  fault = faults.Fault(1, 0, "main", 9, bad, "image_broken", bad)
  page = inspection_page.render(
    small.data, [one], [shown], [fault], batch_size=4, seed=0
  )
  assert "<script" not in page
  assert "&lt;script" in page
  # Nothing is loaded from elsewhere.
  loaded = re.findall(r'(?:src|href)="([^"]*)"|url\(', page)
  assert loaded
  assert all(link.startswith("data:") for link in loaded)
  assert "2 × image_broken" in page
  assert "key2: " in page
  assert "data.augmentation.crop_scale" in page
  assert "10 of 26 tokens cut" in page


def test_what_was_replaced_is_named(small):
  records = _Records(
    record_lib.Record(f"key{i}", _png(), {"en": ("a", "b")}) for i in range(6)
  )
  records[4] = dataclasses.replace(records[4], image=b"nothing")
  shown, replaced = inspection.first_examples(
    small.data, batch_size=4, seed=0, count=6, opened={"main": records}
  )
  # An epoch has each once, so one of the six places was the broken one's.
  assert {fault.key for fault in replaced} == {"key4"}
  (fault,) = (fault for fault in replaced if fault.attempt == 0)
  assert "key4" not in {one.key for one in shown}
  taker = shown[fault.position]
  assert (taker.step, taker.row) == divmod(fault.position, 4)
  assert len({one.key for one in shown} - {taker.key}) >= 4
  assert {one.caption for one in shown} <= {"a", "b"}


def test_patches_become_a_picture_again(small):
  augmentation = dataclasses.replace(
    small.data.augmentation, resize="naflex", patch_size=4, max_num_patches=9
  )
  config = dataclasses.replace(small.data, augmentation=augmentation)
  image = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
  patches, shape, _ = naflex.patchify(image, 4, 9)
  batch = {"images": patches[None], "shapes": shape[None]}
  np.testing.assert_array_equal(inspection._image(config, batch, 0), image)


def test_share_goes_by_weight_or_by_size(small):
  main = small.data.sources["main"]
  few, many = _Records([None] * 2), _Records([None] * 3)
  for weights, wanted in (((0, 0), (0.4, 0.6)), ((3.0, 1.0), (0.75, 0.25))):
    sources = {
      name: dataclasses.replace(main, weight=weight, repeat=repeat)
      for name, weight, repeat in zip("ab", weights, (3, 3), strict=True)
    }
    config = dataclasses.replace(small.data, sources=sources)
    shares = inspection._shares(config, {"a": few, "b": many})
    assert tuple(shares.values()) == pytest.approx(wanted)


def test_bars_hold_every_value():
  values = [3, 3, 4, 90, 200]
  got = inspection_page.bars(values, marked=lambda low: low > 100)
  assert len(got) <= 40
  assert sum(bar.count for bar in got) == len(values)
  assert got[0].low == 3
  assert got[0].high <= 8
  assert got[0].count == 3
  assert [bar.count for bar in got if bar.is_marked] == [0] * 19 + [1]
  assert inspection_page.bars([], marked=bool) == []
  assert [bar.label for bar in inspection_page.bars([7, 7], marked=bool)] == [
    "7"
  ]


def test_task_writes_the_page_and_says_where(small, tmp_path, capsys):
  path = tmp_path / "new" / "page.html"
  how = {"batch_size": small.batch_size, "seed": small.seed, "num_examples": 2}
  assert inspection_page.write(path, small.data, **how, as_json=True) == 0
  got = json.loads(capsys.readouterr().out)
  assert got["page"] == str(path)
  assert got["num_checked"] == 256
  assert got["num_unusable"] == 0
  assert path.read_text().count("<article") == 2
  with pytest.raises(failures.RunError, match="--out must be a file"):
    inspection_page.write(tmp_path, small.data, **how)


def test_unknown_ids_of_compiled_vocabularies():
  unigram = tokenizers.models.Unigram([("a", -1.0), ("?", -2.0)], unk_id=1)
  word = tokenizers.models.WordPiece({"a": 0, "?": 1}, unk_token="?")
  for model in (unigram, word):
    made = tokenizer.Compiled.make(tokenizers.Tokenizer(model))
    assert made.encode("b") == [made.unk_id] == [1]
  bpe = tokenizers.models.BPE({"a": 0}, [])
  assert tokenizer.Compiled.make(tokenizers.Tokenizer(bpe)).unk_id is None
