"""Operators of the steps of a recipe, by the name in `op`."""

from collections.abc import Mapping

from curation import operators
from curation.rules import (
  cuts,
  entry_counts,
  fanout,
  image_based,
  language,
  metaclip,
  model_scores,
  negclip_normsim,
  rare_tokens,
  sizes,
  subset,
  text_based,
  words,
)
from curation.rules.duplicates import (
  near_duplicates,
  pca_hash,
  perceptual_hashes,
  reference_images,
  semdedup,
)

OPERATORS: Mapping[str, type[operators.Operator]] = {
  "aspect_ratio": sizes.AspectRatio,
  "at_most": sizes.AtMost,
  "blocklist": words.Blocklist,
  "char_count": sizes.CharCount,
  "contains_noun": words.ContainsNoun,
  "duplicate_images": perceptual_hashes.DuplicateImages,
  "duplicate_pairs": fanout.DuplicatePairs,
  "embed": model_scores.Embed,
  "entry_counts": entry_counts.EntryCounts,
  "image_based": image_based.ImageBased,
  "image_bytes": sizes.ImageBytes,
  "image_fanout": fanout.ImageFanout,
  "image_size": sizes.ImageSize,
  "language": language.Language,
  "metaclip_balance": metaclip.Balance,
  "metaclip_match": metaclip.Match,
  "near_duplicates": near_duplicates.NearDuplicates,
  "negclip_loss": negclip_normsim.NegClipLoss,
  "normsim": negclip_normsim.NormSim,
  "pca_hash": pca_hash.PcaHash,
  "phash": perceptual_hashes.PerceptualHash,
  "rare_tokens": rare_tokens.RareTokens,
  "reference_images": reference_images.ReferenceImages,
  "semdedup": semdedup.SemDeDup,
  "stored_embeddings": model_scores.StoredEmbeddings,
  "subset": subset.Subset,
  "text_based": text_based.TextBased,
  "text_fanout": fanout.TextFanout,
  "threshold": cuts.Threshold,
  "top_fraction": cuts.TopFraction,
  "word_count": sizes.WordCount,
}
