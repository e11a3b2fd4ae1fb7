"""Embed images or texts; write images.npy and texts.npy, or shards."""

from absl import flags as absl_flags

from tasks import cluster_flags, flags

_CAPTIONS = absl_flags.DEFINE_list(
  "captions",
  None,
  "Captions to embed beside their images, with --layout=shards: columns, or"
  " members of tars (txt, json.caption); usual for the usual ones, and for the"
  " .txt file of an image's name.",
)
_LAYOUT = absl_flags.DEFINE_string(
  "layout",
  "flat",
  "Files of --out: flat (images.npy, texts.npy), or shards, as clip-retrieval"
  " has them (img_emb/, text_emb/, metadata/).",
)
_SHARD_ROWS = absl_flags.DEFINE_integer(
  "shard_rows", 16_384, "Images, or texts, of a shard."
)
FLAGS = (
  flags.INIT_FROM,
  flags.WORKDIR,
  flags.IMAGES,
  flags.RECURSIVE,
  flags.TEXTS,
  _CAPTIONS,
  flags.OUT,
  _LAYOUT,
  _SHARD_ROWS,
  flags.DTYPE,
  flags.BATCH_SIZE,
  flags.CACHE_DIR,
  flags.JSON,
  *cluster_flags.FLAGS,
)
_USUAL = ["usual"]


def run() -> int:
  """Run --task=embed."""
  path = flags.model()
  out = flags.out()

  def task() -> int:
    from inference.embeddings import embed

    captions = _CAPTIONS.value
    wanted = embed.Wanted(
      images=flags.IMAGES.value,
      texts=flags.TEXTS.value,
      out=out,
      recursive=flags.RECURSIVE.value,
      captions=() if captions == _USUAL else captions,
      layout=_LAYOUT.value,
      dtype=flags.DTYPE.value,
      shard_rows=_SHARD_ROWS.value,
      batch_size=flags.BATCH_SIZE.value,
      cache_dir=flags.CACHE_DIR.value,
    )
    return embed.run(path, wanted, as_json=flags.JSON.value)

  return cluster_flags.run_joined(task)
