"""Caption pictures by a run's decoder; write a table that sources read."""

from absl import flags as absl_flags

from tasks import flags

_NUM_BEAMS = absl_flags.DEFINE_integer(
  "num_beams", 1, "Beams of a search; 1 takes the likeliest id at each place."
)
_TOP_P = absl_flags.DEFINE_float(
  "top_p",
  None,
  "Mass of the likeliest ids that captions are drawn from, above 0 and at most"
  " 1. Default: nothing is drawn.",
)
_SEED = absl_flags.DEFINE_integer(
  "seed", 0, "Seed of the draws of --top_p; a picture's are its own."
)
_MAX_TOKENS = absl_flags.DEFINE_integer(
  "max_tokens",
  None,
  "Ids of a caption at most, its end included. Default: as many as the decoder"
  " was taught, data.regions.num_tokens.",
)
_STORE_IMAGES = absl_flags.DEFINE_bool(
  "store_images",
  False,
  "Pictures are copied into the rows too, of a .parquet: a source of pairs"
  " needs them for pictures of tars and of Parquet files.",
)
_REFERENCES = absl_flags.DEFINE_string(
  "references",
  "",
  "References that captions are judged by: a file of COCO, NoCaps, TextCaps or"
  " Karpathy, or .jsonl or .csv of image_id and references, all by the names of"
  " the pictures' files. Figures are printed and written to OUT.results.json.",
)
_REFERENCES_SPLIT = absl_flags.DEFINE_string(
  "references_split", "", "Split of Karpathy's file, as test."
)
_TOKENS = absl_flags.DEFINE_string(
  "tokens",
  "ptb",
  "Words of captions that --references judges: ptb, of the published figures,"
  " which needs Java, or regex, whose figures have other names.",
)
_SCORER = absl_flags.DEFINE_string(
  "scorer",
  "",
  "Model of CLIPScore and RefCLIPScore beside --references: as --init_from, or"
  " a run. hf://openai/clip-vit-base-patch32 has the published names.",
)
_OBJECTS = absl_flags.DEFINE_string(
  "objects",
  "",
  "Annotated objects for CHAIR beside --references: COCO's instances file.",
)
_SYNONYMS = absl_flags.DEFINE_string(
  "synonyms",
  "",
  "Words that mean an object of --objects: JSON, or an object a line with its"
  " words, separated by commas.",
)
FLAGS = (
  *(flags.WORKDIR, flags.IMAGES, flags.RECURSIVE, flags.OUT),
  *(_NUM_BEAMS, _TOP_P, _SEED, _MAX_TOKENS, flags.COLUMNS, _STORE_IMAGES),
  *(_REFERENCES, _REFERENCES_SPLIT, _TOKENS, _SCORER, _OBJECTS, _SYNONYMS),
  *(flags.BATCH_SIZE, flags.CACHE_DIR, flags.JSON),
)


def run() -> int:
  """Run --task=caption."""
  path, out = str(flags.workdir()), flags.out()
  from evaluators.generating import settings
  from inference.captioning import caption

  wanted = caption.Wanted(
    images=flags.IMAGES.value,
    out=out,
    columns=flags.COLUMNS.value,
    recursive=flags.RECURSIVE.value,
    batch_size=flags.BATCH_SIZE.value,
    cache_dir=flags.CACHE_DIR.value,
    stores_images=_STORE_IMAGES.value,
    references=_REFERENCES.value,
    references_split=_REFERENCES_SPLIT.value,
    tokens=_TOKENS.value,
    scorer=_SCORER.value,
    objects=_OBJECTS.value,
    synonyms=_SYNONYMS.value,
    settings=settings.Settings(
      num_beams=_NUM_BEAMS.value,
      top_p=_TOP_P.value,
      seed=_SEED.value,
      max_tokens=_MAX_TOKENS.value,
    ),
  )
  return caption.run(path, wanted, as_json=flags.JSON.value)
