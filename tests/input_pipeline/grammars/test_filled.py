"""Tests of sources whose captions a grammar makes."""

import collections
import io
import json
import pathlib
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs import base
from configs.parts import sources
from input_pipeline import faults, pipeline
from input_pipeline.grammars import filled
from training import config as config_lib

ROWS = (
  {"sci": "Pica hudsonia", "com": "magpie", "n": 1, "caption": "on a fence"},
  {"sci": "Bubo bubo", "com": None, "n": 2, "caption": "at night"},
  {"sci": "Vulpes vulpes", "com": "fox", "n": 3, "caption": "=asleep"},
  {"sci": None, "com": " ", "n": None, "caption": "nothing known"},
)
GRAMMAR = (("sci", "a photo of {sci}."), ("com", "a photo of {com:a}."))
FIELDS = (("sci", "sci"), ("com", "com"))


@pytest.fixture
def table(tmp_path: pathlib.Path) -> pathlib.Path:
  """Return a table of pictures with fields."""
  folder = tmp_path / "set"
  folder.mkdir()
  lines = []
  for number, row in enumerate(ROWS):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (40 * number,) * 3).save(buffer, "PNG")
    (folder / f"{number}.png").write_bytes(buffer.getvalue())
    lines.append(json.dumps({"image": f"{number}.png", **row}))
  path = folder / "pairs.jsonl"
  path.write_text("\n".join(lines) + "\n")
  return path


def _values(path: pathlib.Path, **fields: Any) -> dict[str, Any]:
  config = base.get_config()
  fields = {"grammar": GRAMMAR, "grammar_fields": FIELDS} | fields
  config.data.sources.main = sources.source(
    **{"format": "table", "path": str(path)} | fields
  )
  config.data.cache_dir = str(path.parent / "cache")
  config.data.image_size = 8
  config.data.tokenizer = "bytes"
  config.data.max_bad_fraction = 1.0
  return config.to_dict()


def _config(path: pathlib.Path, **fields: Any) -> pipeline.DataConfig:
  return config_lib.from_mapping(_values(path, **fields)).data


def _drawn(
  config: pipeline.DataConfig, num_batches: int, **fields: Any
) -> list[tuple[list[str], list[str]]]:
  """Return the captions and grammars of batches of 8."""
  batches = iter(
    pipeline.make_train_dataset(
      config, batch_size=8, seed=3, with_metadata=True, **fields
    )
  )
  taken = [next(batches) for _ in range(num_batches)]
  return [(list(b["caption"]), list(b["grammar"])) for b in taken]


def test_texts_of_records(table: pathlib.Path) -> None:
  records = pipeline.open_sources(_config(table))["main"]
  assert records[0].texts == {
    "en": ("a photo of Pica hudsonia.", "a photo of a magpie.")
  }
  assert records[1].texts == {"en": ("a photo of Bubo bubo.",)}
  assert records[1].fields == {"sci": "Bubo bubo"}
  with pytest.raises(faults.ExampleError) as error:
    records[3]
  assert error.value.kind == "caption_missing"
  assert "slots ['com', 'sci']; the example has []" in str(error.value)


def test_captions_beside_fields(table: pathlib.Path) -> None:
  config = _config(
    table,
    caption=("caption",),
    grammar=(("own", "{:capital}[, {com:a}]."),),
    grammar_fields=(("com", "com"),),
  )
  records = pipeline.open_sources(config)["main"]
  assert [records[i].texts["en"] for i in range(4)] == [
    ("On a fence, a magpie.",),
    ("At night.",),
    ("=asleep, a fox.",),
    ("Nothing known.",),
  ]
  assert records[2].captions == ("=asleep",)


def test_numbers_are_fields(table: pathlib.Path) -> None:
  config = _config(
    table, grammar=(("n", "picture {n}"),), grammar_fields=(("n", "n"),)
  )
  assert pipeline.open_sources(config)["main"][1].texts == {
    "en": ("picture 2",)
  }


@pytest.mark.parametrize("draw", filled.DRAWS)
def test_draws(table: pathlib.Path, draw: str) -> None:
  config = _config(table, grammar_draw=draw)
  batches = _drawn(config, 20)
  assert batches == _drawn(config, 20)
  kinds = collections.Counter()
  for texts, grammars in batches:
    has_both = [
      kind
      for text, kind in zip(texts, grammars, strict=True)
      if text != "a photo of Bubo bubo."  # has no other
    ]
    kinds.update(has_both)
    assert set(texts) <= {
      "a photo of Pica hudsonia.",
      "a photo of a magpie.",
      "a photo of Bubo bubo.",
      "a photo of Vulpes vulpes.",
      "a photo of a fox.",
    }
    if draw == "batch":
      assert len(set(has_both)) == 1
  assert min(kinds.values()) > sum(kinds.values()) / 5
  assert kinds.keys() == {"sci", "com"}


def test_rows_of_a_process_have_the_same_draws(table: pathlib.Path) -> None:
  config = _config(table, grammar_draw="batch")
  whole = _drawn(config, 6)
  half = _drawn(config, 6, rows=range(4, 8))
  assert [(t[4:], g[4:]) for t, g in whole] == half


def test_fingerprint_depends_on_the_grammar(table: pathlib.Path) -> None:
  prints = {
    pipeline.open_sources(config)["main"].fingerprint()
    for config in (
      _config(table),
      _config(table, grammar_articles=("magpie",)),
      _config(table, grammar=(("sci", "{sci}"), ("com", "{com}"))),
    )
  }
  assert len(prints) == 3


def test_too_long(table: pathlib.Path) -> None:
  config = _config(table, grammar=(("x", "{sci}[{com}]"),))
  record = pipeline.open_sources(config)["main"][0]
  texts = filled.make(config.sources["main"])
  assert texts is not None
  with pytest.raises(faults.ExampleError, match=r"max_caption_chars=5$"):
    filled.draw(
      *(texts, record, np.random.Generator(np.random.Philox(0))),
      batch=(0, 0),
      max_chars=5,
    )


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (
      {"grammar": (("x", "a {sci"),)},
      "data.sources.main.grammar, x: a slot is",
    ),
    (
      {"grammar": (("x", "{sci}{com}{other}"),)},
      "has slots that data.sources.main.grammar_fields does not name: other",
    ),
    (
      {"grammar": (("x", "{sci}"),)},
      "grammar_fields has com, of which no text",
    ),
    (
      {"grammar": (("x", "{sci}{com}{}"),)},
      "data.sources.main.caption must name the caption",
    ),
    (
      {"grammar": (("x", "{sci}"), ("x", "{com}"))},
      "grammar must name each once; got ['x', 'x']",
    ),
    ({"grammar": ()}, "grammar_fields needs data.sources.main.grammar"),
    ({"grammar_draw": "step"}, "data.sources.main.grammar_draw must be"),
    ({"templates": ("a {}",)}, "templates cannot stand beside"),
    ({"keep": "keep.npy"}, "keep cannot stand beside"),
    ({"format": "emoji"}, "grammar needs a format with fields"),
  ],
)
def test_wrong_fields(
  table: pathlib.Path, fields: dict[str, Any], message: str
) -> None:
  with pytest.raises(ValueError, match=re.escape(message)):
    _config(table, **fields).check()


def test_column_that_is_not_there(table: pathlib.Path) -> None:
  config = _config(table, grammar_fields=(("sci", "sci"), ("com", "common")))
  message = r"main\.grammar_fields must be among .*; got 'common'"
  with pytest.raises(ValueError, match=message):
    pipeline.open_sources(config)
