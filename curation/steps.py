"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import (
  align,
  duplicate_images,
  near_duplicates,
  operators,
  pca_hash,
  reference_images,
  semantic_duplicates,
  text_based,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "image_size": align.ImageSize,
  "phash": duplicate_images.PerceptualHash,
  "duplicate_images": duplicate_images.DuplicateImages,
  "pca_hash": pca_hash.PcaHash,
  "reference_images": reference_images.ReferenceImages,
  "near_duplicates": near_duplicates.NearDuplicates,
  "semdedup": semantic_duplicates.SemDeDup,
  "text_based": text_based.TextBased,
}
