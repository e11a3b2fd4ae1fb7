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
_APPROXIMATE = absl_flags.DEFINE_string(
  "approximate",
  "",
  "Approximate index to add to the index, for a faster search that may miss"
  " some pictures: ivf (inverted lists of faiss) or hnsw (graph of usearch).",
)
_QUERIES = absl_flags.DEFINE_string(
  "queries",
  "",
  "Sample that the recall of --approximate is measured on: a file with a text"
  " on each line, as will be searched for, or a folder of --task=embed --texts;"
  " captions or rows of the index. Default: captions if there are any.",
)
_TARGET_RECALL = absl_flags.DEFINE_float(
  "target_recall",
  None,
  "Share of the 10 nearest pictures that --approximate is to find at least;"
  " by default 0.98.",
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
  _APPROXIMATE,
  _QUERIES,
  _TARGET_RECALL,
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
    approximate_method=_APPROXIMATE.value,
    queries=_QUERIES.value,
    target_recall=_TARGET_RECALL.value,
    side=_THUMBNAILS.value,
    as_json=flags.JSON.value,
  )
