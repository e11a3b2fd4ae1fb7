"""Embed a folder's images or a file's texts; write images.npy and texts.npy."""

from absl import flags as absl_flags

from tasks import flags

_IMAGES = absl_flags.DEFINE_string(
  "images",
  "",
  "Images to embed: a folder or a quoted pattern, in the order of the files'"
  " paths.",
)
_TEXTS = absl_flags.DEFINE_string(
  "texts", "", "Texts to embed: a file with one text a line."
)
FLAGS = (
  flags.INIT_FROM,
  flags.WORKDIR,
  _IMAGES,
  _TEXTS,
  flags.OUT,
  flags.BATCH_SIZE,
  flags.JSON,
)


def run() -> int:
  """Run --task=embed."""
  path = flags.model()
  from inference import embed

  return embed.run(
    path,
    images=_IMAGES.value,
    texts=_TEXTS.value,
    out=flags.out(),
    batch_size=flags.BATCH_SIZE.value,
    as_json=flags.JSON.value,
  )
