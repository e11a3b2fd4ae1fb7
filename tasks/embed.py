"""Embed a folder's images or a file's texts; write images.npy and texts.npy."""

from tasks import flags

FLAGS = (
  flags.INIT_FROM,
  flags.WORKDIR,
  flags.IMAGES,
  flags.TEXTS,
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
    images=flags.IMAGES.value,
    texts=flags.TEXTS.value,
    out=flags.out(),
    batch_size=flags.BATCH_SIZE.value,
    as_json=flags.JSON.value,
  )
