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
_THUMBNAILS = absl_flags.DEFINE_integer(
  "thumbnails",
  128,
  "Longest side of the small pictures of --images that the index stores for"
  " --task=serve, in pixels; 0 stores none.",
)
FLAGS = (
  flags.INIT_FROM,
  flags.WORKDIR,
  flags.IMAGES,
  flags.RECURSIVE,
  _EMBEDDINGS,
  _REMOVE,
  flags.OUT,
  flags.DTYPE,
  _THUMBNAILS,
  flags.BATCH_SIZE,
  flags.CACHE_DIR,
  flags.JSON,
)


def run() -> int:
  """Run --task=index."""
  has_model = flags.INIT_FROM.value or flags.WORKDIR.value
  path = flags.model() if has_model or flags.IMAGES.value else ""
  from inference.embeddings import embed
  from inference.indexing import build

  wanted = embed.Wanted(
    images=flags.IMAGES.value,
    texts="",
    out=flags.OUT.value,
    recursive=flags.RECURSIVE.value,
    dtype=flags.DTYPE.value,
    batch_size=flags.BATCH_SIZE.value,
    cache_dir=flags.CACHE_DIR.value,
  )
  return build.run(
    path,
    wanted,
    embeddings=_EMBEDDINGS.value,
    remove=_REMOVE.value,
    side=_THUMBNAILS.value,
    as_json=flags.JSON.value,
  )
