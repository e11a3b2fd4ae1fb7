"""Draw what makes images like texts: heat maps over pictures, and a page."""

from absl import flags as absl_flags

from tasks import flags

_METHOD = absl_flags.DEFINE_string(
  "method",
  "windows",
  "Heat maps: windows (a square greyed out at a time), occlusion (FashionCLIP's"
  " bands; no heat where the whole image is most alike), attention"
  " (gradient-weighted) or patches (similarity of each patch), the last two of"
  " transformer towers.",
)
_REGIONS = absl_flags.DEFINE_string(
  "regions",
  "",
  "Regions that texts are about, to judge maps by: a file of JSON lines with"
  " image, text and region (a picture of the image's size, white inside), paths"
  " relative to its folder.",
)
FLAGS = (
  *(flags.INIT_FROM, flags.WORKDIR, flags.IMAGES, flags.TEXTS, _METHOD),
  *(_REGIONS, flags.OUT, flags.BATCH_SIZE, flags.JSON),
)


def run() -> int:
  """Run --task=explain."""
  path = flags.model()
  from inference.explaining import explain

  return explain.run(
    path,
    images=flags.IMAGES.value,
    texts=flags.TEXTS.value,
    method=_METHOD.value,
    out=flags.out(),
    batch_size=flags.BATCH_SIZE.value,
    regions=_REGIONS.value,
    as_json=flags.JSON.value,
  )
