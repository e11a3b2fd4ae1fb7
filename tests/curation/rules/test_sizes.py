"""Rules about single pairs, on their boundaries, as each paper has them."""

import numpy as np
import pyarrow as pa
import pytest

from configs.curate import steps as steps_lib
from curation import operators
from curation.rules import sizes as sizes_lib
from runtime import sections

PLACE = operators.StepContext(None, None)


def decided(op, table):
  op.check("steps.it")
  return op.open(PLACE)(table).keep.tolist()


def step(cls, fields):
  """Return the operator of a config's step."""
  values = {name: value for name, value in fields.items() if name != "op"}
  return sections.make(cls, values, see="configs/curate/fields.py")


RULES = {
  "align": steps_lib.align(image="url"),
  "coyo": steps_lib.coyo(),
  "basic_filter": steps_lib.basic_filter(),
  "image_based": steps_lib.image_based_captions(),
}


@pytest.mark.parametrize(
  ("name", "keeps_200", "keeps_3"),
  [
    ("align", False, False),
    ("coyo", True, True),
    ("basic_filter", True, True),
  ],
)
def test_image_sizes(name, keeps_200, keeps_3):
  sizes = [(199, 500), (200, 500), (500, 200), (201, 201), (None, 300)]
  sizes += [(300, 900), (900, 300), (300, 899), (300, 901), (0, 0)]
  table = pa.table(
    {
      "width": pa.array([w for w, _ in sizes], pa.int32()),
      "height": pa.array([h for _, h in sizes], pa.int32()),
    }
  )
  steps = RULES[name]
  is_large = decided(step(sizes_lib.ImageSize, steps["image_size"]), table)
  expected = [False, keeps_200, keeps_200, True, False, *[True] * 4, False]
  assert is_large == expected
  is_slim = decided(step(sizes_lib.AspectRatio, steps["aspect_ratio"]), table)
  expected = [True, True, True, True, False, keeps_3, keeps_3, True, False]
  assert is_slim == [*expected, False]


def words(count, end=""):
  return " ".join(["word"] * count) + end


@pytest.mark.parametrize(
  ("name", "least", "most"),
  [("align", 3, 20), ("coyo", 3, 256), ("basic_filter", 3, 10**9)],
)
def test_word_counts(name, least, most):
  counts = [0, 1, 2, 3, 4, 19, 20, 21, 255, 256, 257, 1000]
  # Any whitespace is between words: also what ends a line, and U+3000.
  texts = [words(count, "\n\u3000 ") for count in counts]
  op = step(sizes_lib.WordCount, RULES[name]["word_count"])
  expected = [least <= count <= most for count in counts]
  assert decided(op, pa.table({"text": texts})) == expected


def test_image_based_captions_count_fasttexts_tokens():
  texts = {
    "one": False,
    "one\u00a0two": False,  # only ASCII is between fastText's tokens
    "one\x1ctwo": False,
    "one two": True,
    " one\ttwo ": True,
    "one\0two": True,
    "one\n": True,  # a newline is a token
    "\n\n": True,
    "": False,
    " \t": False,
    "é\vé": True,
  }
  op = step(sizes_lib.WordCount, RULES["image_based"]["word_count"])
  table = pa.table({"text": [*texts, "two words"]}).slice(0, len(texts))
  assert decided(op, table) == list(texts.values())
  # And basic_filter, which is stricter.
  basic = step(sizes_lib.WordCount, RULES["basic_filter"]["word_count"])
  assert not any(decided(basic, table))


@pytest.mark.parametrize("name", ["coyo", "basic_filter", "image_based"])
def test_char_counts(name):
  texts = ["abcde", "abcdef", "äöü犬猫", "äöü犬猫x", "ab   c", "x" * 1000]
  texts += ["x" * 1001, "x" * 1000 + "  "]
  op = step(sizes_lib.CharCount, RULES[name]["char_count"])
  squeezes = name == "coyo"
  expected = [False, True, False, True, not squeezes, True, not squeezes, True]
  assert decided(op, pa.table({"text": texts})) == expected


def test_file_sizes():
  op = step(sizes_lib.ImageBytes, RULES["coyo"]["image_bytes"])
  images = [b"x" * 5119, b"x" * 5120, None]
  table = pa.table({"image": pa.array(images, pa.binary())})
  assert decided(op, table) == [False, True, False]


def test_a_score_at_the_limit_is_kept():
  op = sizes_lib.AtMost("nsfw_score", 0.5)
  column = pa.array([0.0, 0.5, np.nextafter(0.5, 1), None, np.nan])
  assert decided(op, pa.table({"nsfw_score": column})) == [
    *(True, True, False, False, False)
  ]


@pytest.mark.parametrize(
  ("op", "message"),
  [
    (sizes_lib.ImageSize(-1, True), "steps.it.min_side .* got -1"),
    (sizes_lib.AspectRatio(0.9, True), "steps.it.max_ratio .* got 0.9"),
    (sizes_lib.WordCount(3, 2, "split"), "steps.it.max_words .* is 3; got 2"),
    (sizes_lib.WordCount(-1, 2, "split"), "steps.it.min_words .* got -1"),
    (
      sizes_lib.WordCount(1, 2, "spaces"),
      "words must be one of split, fasttext",
    ),
    (sizes_lib.CharCount(3, 2, False), "steps.it.max_chars"),
  ],
)
def test_values_of_no_use(op, message):
  with pytest.raises(ValueError, match=message):
    op.check("steps.it")
