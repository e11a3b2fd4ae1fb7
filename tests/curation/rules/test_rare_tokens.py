"""ALIGN's rare-token rule against collections.Counter."""

import collections
import itertools

import numpy as np
import pyarrow as pa
import pytest

from curation import operators
from curation.keys import strings
from curation.on_disk import key_sets, runs, table_keys
from curation.rules import rare_tokens


def make_texts(num=700):
  rng = np.random.default_rng(0)
  words = [f"W{n}" if n % 3 else f"w{n}" for n in range(300)]
  texts = [None, "", "  ", "w0", "w0 W0"]
  for size in rng.integers(0, 7, num):
    chosen = np.minimum(rng.zipf(1.5, size), 300) - 1
    texts.append("\t ".join(words[n] for n in chosen))
  return texts


def make_step(num_terms, *, bigrams=True, lowercase=False, kind="exact"):
  op = rare_tokens.RareTokens(num_terms, bigrams, lowercase, kind, 0.01)
  op.check("steps.it")
  return op


def opened(folder, op, texts, num_parts=3):
  """Return the step's decide_fn over all texts, and the facts."""
  folder.mkdir()
  context = operators.StepContext(folder, folder, folder / "state")
  context.state.mkdir()
  parts = []
  for number, rows in enumerate(
    np.array_split(np.arange(len(texts)), num_parts)
  ):
    measure = op.measure(context)
    measure.add(pa.table({"text": pa.array([texts[row] for row in rows])}))
    parts.append(folder / f"{number}")
    measure.save(parts[-1])
  facts = op.reduce(parts, context)
  return op.open(context), facts


def terms_of(text, *, bigrams, lowercase):
  words = ((text or "").lower() if lowercase else (text or "")).split()
  return words + (list(itertools.pairwise(words)) if bigrams else [])


def key_of(term):
  if isinstance(term, str):
    return int(strings.hashes(pa.array([term]))[0])
  first, second = (strings.hashes(pa.array([word])) for word in term)
  return int(table_keys.pairs(first, second)[0])


@pytest.mark.parametrize("bigrams", [False, True])
@pytest.mark.parametrize("lowercase", [False, True])
def test_captions_of_frequent_terms_stay(tmp_path, bigrams, lowercase):
  texts = make_texts()
  how = {"bigrams": bigrams, "lowercase": lowercase}
  counter = collections.Counter(
    term for text in texts for term in terms_of(text, **how)
  )
  order = sorted(counter, key=lambda term: (-counter[term], key_of(term)))
  # In the middle of terms that are as frequent.
  num = len(order) // 3
  assert counter[order[num - 1]] == counter[order[num]]
  frequent = set(order[:num])
  expected = [frequent.issuperset(terms_of(text, **how)) for text in texts]
  decide, facts = opened(tmp_path / "it", make_step(num, **how), texts)
  keep = decide(pa.table({"text": pa.array(texts)})).keep
  assert keep.tolist() == expected
  assert len(texts) / 10 < sum(expected) < len(texts) * 9 / 10
  assert facts == {
    "num_occurrences": counter.total(),
    "num_terms": len(counter),
    "num_frequent_terms": num,
    "num_frequent_occurrences": sum(counter[term] for term in frequent),
    "least_count": counter[order[num - 1]],
  }


def test_the_list_does_not_depend_on_shards(tmp_path):
  texts = make_texts()
  opened(tmp_path / "a", make_step(200), texts, num_parts=1)
  opened(tmp_path / "b", make_step(200), texts[::-1], num_parts=9)
  (a,), (b,) = (runs.load(tmp_path / x / "state" / "exact") for x in "ab")
  assert a.tolist() == b.tolist()
  assert len(key_sets.Keys(tmp_path / "a" / "state" / "exact")) == 200


def test_a_bloom_filter_keeps_all_that_is_frequent_and_little_else(tmp_path):
  texts = make_texts()
  table = pa.table({"text": pa.array(texts)})
  exact, _ = opened(tmp_path / "exact", make_step(300), texts)
  bloom, _ = opened(tmp_path / "bloom", make_step(300, kind="bloom"), texts)
  too_many = bloom(table).keep.astype(int) - exact(table).keep
  assert set(too_many.tolist()) <= {0, 1}
  # A rare term is let through at a rate of 0.01; most captions have several:
  # it is 1 of 213 captions here.
  assert too_many.sum() < 0.05 * (~exact(table).keep).sum()
  assert [p.name for p in (tmp_path / "bloom/state").iterdir()] == ["bloom"]


def test_a_pool_without_words(tmp_path):
  for kind in rare_tokens.MEMBERSHIPS:
    op = make_step(5, kind=kind)
    decide, facts = opened(tmp_path / kind, op, [None, "", " "])
    assert facts["num_terms"] == 0
    table = pa.table({"text": ["", "new"]})
    assert decide(table).keep.tolist() == [True, False]


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ((0, True, True, "exact", 0.1), "steps.it.num_terms .* got 0"),
    ((1, True, True, "list", 0.1), "steps.it.membership .* bloom; got 'list'"),
    ((1, True, True, "bloom", 1.0), "steps.it.false_positive_rate .* got 1.0"),
  ],
)
def test_values_of_no_use(fields, message):
  with pytest.raises(ValueError, match=message):
    rare_tokens.RareTokens(*fields).check("steps.it")
