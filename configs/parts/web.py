"""Settings of runs over pairs from the web: length, augmentation."""

import ml_collections


def set_run(
  config: ml_collections.ConfigDict, *, batch_size: int, total_steps: int
) -> None:
  """Set the length of a run and all that depends on its size.

  The pairs of base.py are tars of img2dataset's layout; the user sets the path:
  --config.data.sources.main.path="PATH/{00000..41407}.tar".
  """
  config.batch_size = batch_size
  config.total_steps = total_steps
  config.checkpoint.every_steps = 5000
  config.log_every_steps = 50
  config.model.remat = "block"


def set_examples(
  config: ml_collections.ConfigDict, *, batch_size: int, num_examples: float
) -> None:
  """Call `set_run` with the steps that read `num_examples` pairs."""
  set_run(
    config,
    batch_size=batch_size,
    total_steps=round(num_examples / batch_size),
  )


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
