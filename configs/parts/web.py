"""Settings of runs over pairs from the web: source, length, augmentation."""

import ml_collections

from configs.parts import sources


def set_run(
  config: ml_collections.ConfigDict, *, batch_size: int, total_steps: int
) -> None:
  """Set the source and the length of a run, and the interval of checkpoints.

  The pairs are tars of img2dataset's layout; the user sets their path:
  --config.data.sources.main.path="PATH/{00000..41407}.tar".
  """
  config.batch_size = batch_size
  config.total_steps = total_steps
  config.data.sources.main = sources.source(format="webdataset")
  config.checkpoint.every_steps = 5000
  config.log_every_steps = 50
  # The emoji source's splits mean nothing here.
  config.evaluate.retrieval = ()
  config.evaluate.zero_shot = ()


def set_open_clip_crop(
  config: ml_collections.ConfigDict, lowest: float = 0.9
) -> None:
  """Set open_clip's only augmentation: most of the image, in another shape.

  Source: open_clip 3.3.0, transform.py, AugmentationCfg and image_transform.

  Args:
    config: config to change in place.
    lowest: lowest share of the area; the highest is 1.
  """
  config.data.augmentation.resize = "area"
  config.data.augmentation.crop_scale = (lowest, 1.0)
