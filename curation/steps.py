"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import (
  align,
  fanout,
  operators,
  rare_tokens,
  subset,
  word_rules,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "image_size": align.ImageSize,
  "aspect_ratio": align.AspectRatio,
  "image_bytes": align.ImageBytes,
  "word_count": align.WordCount,
  "char_count": align.CharCount,
  "at_most": align.AtMost,
  "image_fanout": fanout.ImageFanout,
  "text_fanout": fanout.TextFanout,
  "duplicate_pairs": fanout.DuplicatePairs,
  "rare_tokens": rare_tokens.RareTokens,
  "blocklist": word_rules.Blocklist,
  "contains_noun": word_rules.ContainsNoun,
  "subset": subset.Subset,
}
