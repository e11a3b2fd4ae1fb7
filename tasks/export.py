"""Export a model as a folder that other libraries load, with its card."""

from absl import flags as absl_flags

from tasks import flags

_FORMAT = absl_flags.DEFINE_string(
  "format",
  "hf",
  "Format to write: hf (transformers), hf_code (transformers, with the towers'"
  " code), open_clip, peft (LoRA of a run), onnx or stablehlo (programs of the"
  " towers).",
)
_LICENSE = absl_flags.DEFINE_string(
  "license",
  "",
  "Licence of the weights, an identifier of the Hub as apache-2.0; the model"
  " card says it.",
)
FLAGS = (
  *(flags.INIT_FROM, flags.WORKDIR, _FORMAT, flags.OUT, flags.JSON),
  *(flags.INTERPOLATE, _LICENSE),
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
    license=_LICENSE.value,
    as_json=flags.JSON.value,
  )
