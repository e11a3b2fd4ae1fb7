"""Rules mark, cut and pad, for any vocabulary."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from input_pipeline.tokenizers import cleaning, rules

PUBLISHED = {
  name: value
  for name, value in vars(rules).items()
  if isinstance(value, rules.Rule)
}
RULES = [
  *PUBLISHED.values(),
  rules.run(16),
  rules.Rule(8, pad_id=0, eos_id=1, bos_id=2, pad_left=True),
  rules.Rule(8, pad_id=0, eos_id=1, cut_keeps_eos=False),
]
# Ids of text: none of them a mark or padding of a rule above, but for 0 in
# CLIP's, which is a "!" there.
TOKENS = strategies.lists(strategies.integers(1000, 2000), max_size=100)


@pytest.mark.parametrize("rule", RULES)
@hypothesis.given(sequences=strategies.lists(TOKENS, max_size=4))
def test_rows(rule, sequences):
  ids = rule.pack(sequences)
  assert ids.shape == (len(sequences), rule.num_tokens)
  assert ids.dtype == np.int32
  bos = [] if rule.bos_id is None else [rule.bos_id]
  eos = [] if rule.eos_id is None else [rule.eos_id]
  for row, sequence in zip(ids, sequences, strict=True):
    whole = [*bos, *sequence, *eos]
    padding = [rule.pad_id] * (rule.num_tokens - len(whole))
    if len(whole) <= rule.num_tokens:
      expected = padding + whole if rule.pad_left else whole + padding
      assert rule.unpack(row) == sequence
    else:
      kept = whole[: rule.num_tokens - len(eos)]
      last = eos if rule.cut_keeps_eos else whole[len(kept) : rule.num_tokens]
      expected = kept + last
      unpacked = rule.unpack(row)
      assert unpacked == sequence[: len(unpacked)]
    assert row.tolist() == expected


def test_zero_may_be_a_token_where_padding_is_zero():
  (ids,) = rules.CLIP.pack([[5, 0, 6]])
  assert rules.CLIP.unpack(ids) == [5, 0, 6]


@pytest.mark.parametrize(("rule", "lowest"), [("CLIP", 3), ("SIGLIP", 2)])
def test_no_room_for_text(rule, lowest):
  rule = PUBLISHED[rule]
  dataclasses.replace(rule, num_tokens=lowest)
  with pytest.raises(
    ValueError, match=f"num_tokens must be at least {lowest}; got {lowest - 1}"
  ):
    dataclasses.replace(rule, num_tokens=lowest - 1)


def test_unknown_cleaning():
  with pytest.raises(ValueError, match="must be one of .*clip.*got 'soap'"):
    rules.Rule(8, pad_id=0, eos_id=1, clean="soap")


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("none", " Tom &amp;amp; JÉRRY's\tcat_ΣΣ. "),
    ("lower", " tom &amp;amp; jérry's\tcat_σσ. "),
    ("lower_ascii", " tom &amp;amp; jÉrry's\tcat_ΣΣ. "),
    ("clip", "tom & jérry's cat_σς."),
    ("open_clip_whitespace", "Tom & JÉRRY's cat_ΣΣ."),
    ("open_clip_lower", "tom & jérry's cat_σς."),
    ("open_clip_canonicalize", "tom jérrys cat σς"),
    ("siglip", "tom ampamp jérrys catσς"),
    ("siglip_cased", "Tom ampamp JÉRRYs catΣΣ"),
  ],
)
def test_cleanings(name, expected):
  clean = cleaning.CLEANINGS[name]
  assert clean(" Tom &amp;amp; JÉRRY's\tcat_ΣΣ. ") == expected
  assert clean("") == ""
