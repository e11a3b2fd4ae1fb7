"""Build an index of pictures to search, add to one, or leave pictures out."""

from absl import flags as absl_flags

from tasks import flags

_EMBEDDINGS = absl_flags.DEFINE_string(
  "embeddings",
  "",
  "Folder of embeddings to index: of --task=embed, or in the layout of"
  " clip-retrieval (img_emb/, metadata/).",
)
_REMOVE = absl_flags.DEFINE_string(
  "remove",
  "",
  "File with the path of a picture on each line, which no search of the index"
  " returns any more.",
)
_DTYPE = absl_flags.DEFINE_string(
  "dtype", "", "Numbers of a new index: float16 (the default) or float32."
)
FLAGS = (
  flags.INIT_FROM,
  flags.WORKDIR,
  flags.IMAGES,
  _EMBEDDINGS,
  _REMOVE,
  flags.OUT,
  _DTYPE,
  flags.BATCH_SIZE,
  flags.JSON,
)


def run() -> int:
  """Run --task=index."""
  has_model = flags.INIT_FROM.value or flags.WORKDIR.value
  path = flags.model() if has_model or flags.IMAGES.value else ""
  from inference.indexing import build

  return build.run(
    path,
    images=flags.IMAGES.value,
    embeddings=_EMBEDDINGS.value,
    remove=_REMOVE.value,
    out=flags.OUT.value,
    dtype=_DTYPE.value,
    batch_size=flags.BATCH_SIZE.value,
    as_json=flags.JSON.value,
  )
