"""Export a model as a folder that transformers, open_clip or peft loads."""

from absl import flags as absl_flags

from tasks import flags

_FORMAT = absl_flags.DEFINE_string(
  "format",
  "hf",
  "Format to write: hf (transformers), open_clip, or peft (LoRA of a run).",
)
FLAGS = (
  *(flags.INIT_FROM, flags.WORKDIR, _FORMAT, flags.OUT, flags.JSON),
  flags.INTERPOLATE,
)


def run() -> int:
  """Run --task=export."""
  path = flags.model()
  from inference import export

  return export.run(
    path,
    _FORMAT.value,
    flags.out(),
    alphas=flags.alphas(),
    as_json=flags.JSON.value,
  )
