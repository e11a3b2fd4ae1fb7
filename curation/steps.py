"""The operators that a recipe can name."""

from collections.abc import Mapping

from curation import (
  align,
  duplicate_images,
  embed,
  entry_counts,
  image_based,
  language,
  metaclip,
  near_duplicates,
  operators,
  reference_images,
  scores,
  semantic_duplicates,
  similarity,
  subset,
  text_based,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "entry_counts": entry_counts.EntryCounts,
  "image_size": align.ImageSize,
  "phash": duplicate_images.PerceptualHash,
  "duplicate_images": duplicate_images.DuplicateImages,
  "reference_images": reference_images.ReferenceImages,
  "near_duplicates": near_duplicates.NearDuplicates,
  "semdedup": semantic_duplicates.SemDeDup,
  "embed": embed.Embed,
  "stored_embeddings": embed.StoredEmbeddings,
  "language": language.Language,
  "metaclip_balance": metaclip.Balance,
  "metaclip_match": metaclip.Match,
  "subset": subset.Subset,
  "threshold": scores.Threshold,
  "top_fraction": scores.TopFraction,
  "negclip_loss": similarity.NegClipLoss,
  "normsim": similarity.NormSim,
  "image_based": image_based.ImageBased,
  "text_based": text_based.TextBased,
}
