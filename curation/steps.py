"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import (
  align,
  entry_counts,
  language,
  metaclip,
  operators,
  subset,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "entry_counts": entry_counts.EntryCounts,
  "image_size": align.ImageSize,
  "language": language.Language,
  "metaclip_balance": metaclip.Balance,
  "metaclip_match": metaclip.Match,
  "subset": subset.Subset,
}
