"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import align, operators, subset

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "image_size": align.ImageSize,
  "subset": subset.Subset,
}
