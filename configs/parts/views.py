"""Section `config.data.views`: further views of an image (SILC, DINO).

The shares of the area, colour changes, grey and blur are ours, after DINO
(arXiv 2104.14294): SigLIP 2 says no more than "augmented views".
"""

import ml_collections

from configs.parts import augmentation


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no views, and what views would be like."""
  views = ml_collections.ConfigDict()
  # Whether there is a view of data.image_size, which a teacher sees and, with
  # masked patches, the student.
  views.has_global = False
  # Smaller views that the student sees. SigLIP 2 (arXiv 2502.14786, 2.3): 8.
  views.num_local = 0
  # Side of a local view in pixels.
  views.local_size = 96
  views.whole = _view((0.4, 1.0))
  views.local = _view((0.05, 0.4))
  views.local.blur_probability = 0.5
  return views


def _view(crop_scale: tuple[float, float]) -> ml_collections.ConfigDict:
  view = augmentation.section()
  view.resize = "area"
  view.crop_scale = crop_scale
  view.flip_probability = 0.5
  view.jitter = (0.4, 0.4, 0.2, 0.1)
  view.jitter_probability = 0.8
  view.gray_probability = 0.2
  view.blur_probability = 0.1
  return view
