"""Build MetaCLIP's metadata: the entries that captions are matched with."""

from tasks import flags

FLAGS = (flags.CONFIG, flags.OUT, flags.ENGINE, flags.NUM_WORKERS, flags.JSON)


def run() -> int:
  """Run --task=metadata."""
  values = flags.needed_values()
  from curation.metadata import build, metadata_config

  return build.run(
    metadata_config.checked(values),
    flags.out(),
    engine=flags.ENGINE.value,
    num_workers=flags.num_workers(),
    as_json=flags.JSON.value,
  )
