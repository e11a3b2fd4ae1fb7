"""Tests of grammars of captions."""

import collections
import re

import numpy as np
import pytest

from input_pipeline.grammars import grammar

PLACE = {"town": "Delft", "region": "Zuid-Holland", "country": "Netherlands"}
# StreetCLIP's authors' caption (PIGEON), with their probabilities.
STREET = (
  "A Street View photo [close to the town of {town} ]?0.4"
  "[in the region of {region} ]?0.6in {country:the}."
)


@pytest.mark.parametrize(
  ("text", "fields", "expected"),
  [
    ("plain", {}, "plain"),
    ("a {x} b", {"x": "1"}, "a 1 b"),
    ("a {x} b", {}, None),
    ("a[ {x}] b", {}, "a b"),
    ("a[ {x}] b", {"x": "1"}, "a 1 b"),
    ("{x/y}", {"y": "2"}, "2"),
    ("{x/y}", {"x": "1", "y": "2"}, "1"),
    ("{}", {"": "own"}, "own"),
    ("{:capital}", {"": "own"}, "Own"),
    ("{x:a}, {y:a}", {"x": "owl", "y": "Jay"}, "an owl, a Jay"),
    ("{x:lower}", {"x": "ABC"}, "abc"),
    ("in {country:the}", PLACE, "in the Netherlands"),
    ("in {region:the}", PLACE, "in Zuid-Holland"),
    (r"\[{x}\]\?\\\{\}", {"x": "1"}, r"[1]?\{}"),
    ("why?", {}, "why?"),
    ("[a[ {x}]]?0", {"x": "1"}, ""),
    ("[a[ {x}]]?1.0", {}, "a"),
    ("({x}|b)", {}, "b"),
    ("({x}|{y})", {}, None),
    ("<a|{x}>", {}, None),
    ("[({x}|{y})]", {}, ""),
    ("(a|)", {"x": "1"}, "a"),
  ],
)
def test_texts(text: str, fields: dict[str, str], expected: str | None) -> None:
  parsed = grammar.parse(text, ["Netherlands"])
  assert parsed.draw(fields, [0] * parsed.num_words) == expected


def test_slots_and_words() -> None:
  parsed = grammar.parse("{b/a}[{} <x|y>](1|2)")
  assert parsed.slots == ("", "a", "b")
  assert parsed.num_words == 3


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("a {x", "a slot is"),
    ("{x y}", "a slot is"),
    ("{x/}", "empty name"),
    ("{x:an}", "a filter must be among the, a, lower, capital"),
    ("a]", "']' closes nothing; got 'a]' at character 2"),
    ("a|b", "'|' closes nothing"),
    ("[a|b]", "'|' stands within"),
    ("[a", "'[' is not closed by ']'; got '[a' at character 1"),
    ("(a|[b)", "'[' is not closed"),
    ("(a]", "'(' is not closed by ')'"),
    ("[a]?1.5", "a probability must be at most 1"),
    ("\\n", "a backslash must stand before"),
    ("<" + "|" * 20 + ">", "at most 20 parts"),
  ],
)
def test_wrong_texts(text: str, message: str) -> None:
  with pytest.raises(ValueError, match=re.escape(message)):
    grammar.parse(text)


def test_expansion_is_what_draws_come_to() -> None:
  parsed = grammar.parse(
    STREET + "[ (It is {month}.|<Left. |{side}. >)]?0.5", ["Netherlands"]
  )
  fields = PLACE | {"month": "May", "side": "Right"}
  shares = grammar.expand(parsed, fields)
  assert sum(shares.values()) == pytest.approx(1)
  assert shares[
    "A Street View photo in the region of Zuid-Holland in the Netherlands."
  ] == pytest.approx(0.6 * 0.6 * 0.5)
  assert len(shares) == 4 * 4
  rng = np.random.default_rng(0)
  num = 20_000
  counts = collections.Counter(
    parsed.draw(fields, rng.bit_generator.random_raw(parsed.num_words).tolist())
    for _ in range(num)
  )
  assert set(counts) == set(shares)
  for text, share in shares.items():
    # Five standard deviations.
    assert abs(counts[text] / num - share) < 5 * (share / num) ** 0.5


def test_missing_fields_leave_other_draws_alone() -> None:
  parsed = grammar.parse("[{a} ]?0.5(x|y|z)")
  rng = np.random.default_rng(1)
  for _ in range(50):
    words = rng.bit_generator.random_raw(parsed.num_words).tolist()
    whole = parsed.draw({"a": "1"}, words)
    part = parsed.draw({}, words)
    assert whole is not None
    assert part is not None
    assert whole.removeprefix("1 ") == part


def test_alternatives_are_uniform_over_those_with_fields() -> None:
  parsed = grammar.parse("({a}|{b}|{c})")
  fields = {"a": "1", "c": "3"}
  assert grammar.expand(parsed, fields) == {"1": 0.5, "3": 0.5}
  rng = np.random.default_rng(2)
  drawn = [
    parsed.draw(fields, rng.bit_generator.random_raw(1).tolist())
    for _ in range(4000)
  ]
  assert abs(drawn.count("1") - 2000) < 5 * 1000**0.5


def test_orders_are_uniform() -> None:
  parsed = grammar.parse("<a|b|c>")
  assert grammar.expand(parsed, {}) == pytest.approx(
    dict.fromkeys(("abc", "acb", "bac", "bca", "cab", "cba"), 1 / 6)
  )


def test_too_many_texts() -> None:
  parsed = grammar.parse("<a|b|c|d|e|f|g|h>")
  with pytest.raises(ValueError, match="more than 10000 texts"):
    grammar.expand(parsed, {})


def test_words_of_a_batch() -> None:
  words = grammar.batch_words(3, 7, 4)
  assert words == grammar.batch_words(3, 7, 4)
  assert words != grammar.batch_words(3, 8, 4)
  assert all(0 <= word < 2**64 for word in words)
