"""Labels of captions, against a loop over words."""

import random

import pyarrow as pa
import pytest

from curation.shares import lexicon, lists

CASES = {
  "A turkey sandwich": [],
  "A turkey sandwich in Turkey": ["places TR"],
  "TURKEY HOLIDAYS": ["places TR"],
  "us and them": [],
  "the US (and them)": ["places US"],
  "in the U.S.": ["places US"],
  "PARIS, france's capital": ["places FR"],
  "parisian francey": [],
  "Papua New Guinea": ["places PG"],
  "Guinea near Papua-New_Guinea": ["places GN", "places PG"],
  "巴布亚新几内亚": ["places PG"],
  "几内亚的人": ["places GN"],
  "フランスの旗": ["places FR"],
  "마을 독일": ["places DE"],
  "Co\u0302te d'Ivoire": ["places CI"],
  "a black cat and an old house": [],
  "a black woman, two old men": [
    *("age old", "ethnicity black", "gender men", "gender women"),
  ],
  "African-American art": ["ethnicity african american", "places US"],
  "african and american": [
    *("ethnicity african", "ethnicity american", "places US"),
  ],
  "American Samoa": ["ethnicity american", "places AS"],
  "Humans, womens' manly heroes": [],
  "She is deaf; she is non-binary": [
    *("disability deaf", "gender nonbinary", "gender women"),
  ],
  "": [],
}


def labels(lexicon_, texts):
  rows = lexicon_.find(pa.array(texts, pa.string())).to_pylist()
  return [[" ".join(lexicon_.labels[i]) for i in row] for row in rows]


def test_captions_have_the_labels_of_their_words():
  texts = [*CASES, None]
  found = labels(lexicon.opened(), texts)
  assert dict(zip(texts, found, strict=True)) == CASES | {None: []}


def test_a_part_of_a_table_is_read_as_the_whole():
  texts = pa.chunked_array([list(CASES)[:9], list(CASES)[9:]])
  whole = lexicon.opened().find(texts).to_pylist()
  assert (
    lexicon.opened().find(texts[5:].combine_chunks()).to_pylist() == (whole[5:])
  )


def has(tokens, words, longer):
  """Return whether words are in tokens, those of longer ones removed."""
  text = f" {'  '.join(tokens)} "
  for other in longer:
    text = text.replace(f" {other.replace(' ', '  ')} ", " | ")
  return f" {words.replace(' ', '  ')} " in text


def test_random_captions_are_read_as_by_a_loop():
  rng = random.Random(3)
  entries = [
    lists.Entry(words, group, label)
    for words, group, label in (
      *(("a", "x", "1"), ("a b", "x", "2"), ("b", "x", "1")),
      *(("b c", "y", "1"), ("c", "y", "1"), ("b c d", "y", "2")),
    )
  ]
  longer = {("a", "x"): ["a b"], ("b", "x"): ["a b"]}
  longer |= {("c", "y"): ["b c d"], ("b c", "y"): ["b c d"]}
  made = lexicon.make(entries)
  texts = [rng.choices("abcde", k=rng.randrange(8)) for _ in range(500)]
  expected = [
    sorted(
      {
        f"{e.group} {e.label}"
        for e in entries
        if has(tokens, e.words, longer.get((e.words, e.group), ()))
      }
    )
    for tokens in texts
  ]
  assert labels(made, [" ".join(tokens) for tokens in texts]) == expected


@pytest.mark.parametrize("change", ["words", "label", "cased"])
def test_the_digest_changes_with_each_part_of_an_entry(change):
  value = ("b",) if change == "cased" else "b"
  entry = lists.Entry(**{"words": "a", "group": "g", "label": "l"})
  other = lists.Entry(
    **{"words": "a", "group": "g", "label": "l"} | {change: value}
  )
  assert lexicon.make([entry]).digest != lexicon.make([other]).digest
  assert lexicon.opened().digest == lexicon.digest()
