"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import (
  align,
  entry_counts,
  fanout,
  language,
  metaclip,
  operators,
  rare_tokens,
  subset,
  word_rules,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "aspect_ratio": align.AspectRatio,
  "at_most": align.AtMost,
  "blocklist": word_rules.Blocklist,
  "char_count": align.CharCount,
  "contains_noun": word_rules.ContainsNoun,
  "duplicate_pairs": fanout.DuplicatePairs,
  "entry_counts": entry_counts.EntryCounts,
  "image_bytes": align.ImageBytes,
  "image_fanout": fanout.ImageFanout,
  "image_size": align.ImageSize,
  "language": language.Language,
  "metaclip_balance": metaclip.Balance,
  "metaclip_match": metaclip.Match,
  "rare_tokens": rare_tokens.RareTokens,
  "subset": subset.Subset,
  "text_fanout": fanout.TextFanout,
  "word_count": align.WordCount,
}
