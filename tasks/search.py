"""Search pictures by texts and pictures; draw the best as a contact sheet."""

from absl import app
from absl import flags as absl_flags

from tasks import flags

_QUERY = absl_flags.DEFINE_string("query", "", "Text to search for.")
_QUERY_IMAGE = absl_flags.DEFINE_multi_string(
  "query_image",
  [],
  "Picture to search for, FILE or FILE=WEIGHT; may be given several times, and"
  " beside --query. Results are unlike one of a negative weight.",
)
_WITHOUT = absl_flags.DEFINE_multi_string(
  "without", [], "Text that results are to be unlike; may be given again."
)
_QUERY_WEIGHT = absl_flags.DEFINE_float(
  "query_weight", 1.0, "Weight of --query beside --query_image."
)
_FOLD = absl_flags.DEFINE_float(
  "fold",
  0.0,
  "Cosine similarity, as 0.98, from which a picture counts as a duplicate of a"
  " better result, which then names it; 0 folds none.",
)
_EXACT = absl_flags.DEFINE_bool(
  "exact",
  False,
  "Compare all pictures of an index that has an approximate index too.",
)
_CENTRE = absl_flags.DEFINE_bool(
  "centre",
  False,
  "Subtract the mean embedding of the pictures from pictures, and that of"
  " --centre_texts from texts, before they are compared; exact.",
)
_CENTRE_TEXTS = absl_flags.DEFINE_string(
  "centre_texts",
  "",
  "Texts whose mean --centre subtracts from those of the query: a file with a"
  " text on each line, such as captions of such pictures, or a folder of"
  " --task=embed --texts.",
)
FLAGS = (
  flags.WORKDIR,
  flags.INIT_FROM,
  flags.INDEX,
  flags.IMAGES,
  flags.RECURSIVE,
  _QUERY,
  _QUERY_IMAGE,
  _WITHOUT,
  _QUERY_WEIGHT,
  flags.NUM_RESULTS,
  _FOLD,
  _EXACT,
  _CENTRE,
  _CENTRE_TEXTS,
  flags.OUT,
  flags.JSON,
)


def run() -> int:
  """Run --task=search."""
  index, images = flags.INDEX.value or "", flags.IMAGES.value
  if index:
    path = flags.model() if _has_model() else ""
  elif images:
    path = flags.model()
  elif flags.INIT_FROM.value or not flags.WORKDIR.value:
    raise app.UsageError(
      "give what to search: --index=FOLDER, --images=FILES, or --workdir=RUN"
      " for the data of a run"
    )
  else:
    path = str(flags.workdir())
  from inference.searching import queries, search

  query = queries.Query.of_flags(
    *(_QUERY.value, _QUERY_IMAGE.value, _WITHOUT.value, _QUERY_WEIGHT.value)
  )
  num_results = flags.NUM_RESULTS.value
  return search.run(
    path,
    query,
    index=index,
    images=images,
    out=flags.OUT.value,
    num_results=12 if num_results is None else num_results,
    fold=_FOLD.value,
    recursive=flags.RECURSIVE.value,
    is_exact=_EXACT.value,
    is_centred=_CENTRE.value,
    centre_texts=_CENTRE_TEXTS.value,
    as_json=flags.JSON.value,
  )


def _has_model() -> bool:
  return bool(flags.INIT_FROM.value or flags.WORKDIR.value)
