"""Section `config.data.augmentation`: from images to training inputs."""

import ml_collections


def section() -> ml_collections.ConfigDict:
  """Return a crop of the whole shorter side; nothing else is random."""
  augmentation = ml_collections.ConfigDict()
  # Resize and crop to a square of data.image_size pixels:
  # - "square": a random square whose side is crop_scale times the image's
  #   shorter side; above 1 the image is placed on a larger white canvas.
  # - "area": a random part with crop_scale of the image's area and crop_ratio
  #   of width to height (torchvision's RandomResizedCrop, whose draws above 1
  #   never fit and are repeated, ten times at most).
  # - "squash": both sides to resize_size, ignoring the shape, then a crop.
  # - "shortest": the shorter side to resize_size, then a crop.
  # - "protocol": the steps of an evaluation; nothing is random.
  # - "naflex": patches of the image in its own shape, for the tower "naflex".
  augmentation.resize = "square"
  augmentation.crop_scale = (1.0, 1.0)
  augmentation.crop_ratio = (3 / 4, 4 / 3)  # torchvision's default
  # Pixels that "squash" and "shortest" resize to; 0 is data.image_size.
  augmentation.resize_size = 0
  # True: "squash" and "shortest" crop at a random position. False: the centre.
  augmentation.random_crop = True
  # Filter of "area", "squash", "shortest": "bicubic" or "bilinear",
  # antialiased.
  augmentation.interpolation = "bicubic"
  # Key of image_protocols.PROTOCOLS; "" unless resize is "protocol".
  augmentation.protocol = ""
  # Side of a patch in pixels, and most patches of an image (SigLIP 2: 256), for
  # "naflex". model.image of tower "naflex" takes both from here.
  augmentation.patch_size = 8
  augmentation.max_num_patches = 256
  # Numbers of patches, ascending, of which one is drawn for each batch of
  # training; evaluations keep max_num_patches. () draws none. SigLIP 2 has
  # (128, 256, 576, 784, 1024), see config.num_largest_updates too.
  augmentation.patch_counts = ()
  # Probabilities that an image is mirrored, left to right and top to bottom.
  augmentation.flip_probability = 0.0
  augmentation.vertical_flip_probability = 0.0
  # True: an image is turned by 0, 90, 180 or 270 degrees, each as often.
  augmentation.quarter_turns = False
  # Side in pixels of a random square that is cut out of an image as it is,
  # before all else; mirrors and turns then come before `resize`. 0: none. A
  # smaller image is a fault of its example.
  augmentation.pre_crop = 0
  # Pixels that "area" first resizes its part to, bilinearly; `interpolation`
  # then resizes that to data.image_size. 0 resizes once.
  augmentation.first_size = 0
  augmentation.warp = _warp()
  # Largest change of brightness, contrast, saturation (factors of 1 -+ this)
  # and hue (fraction of the circle), in random order: torchvision's
  # ColorJitter. Next: the probability that an image is changed so (open_clip's
  # default when enabled: 0.8).
  augmentation.jitter = (0.0, 0.0, 0.0, 0.0)
  augmentation.jitter_probability = 0.8
  # Probability that an image is converted to grey.
  augmentation.gray_probability = 0.0
  # Lowest and highest sigma of a Gaussian blur, in pixels of the result
  # (SimCLR, arXiv 2002.05709, appendix A), and its probability.
  augmentation.blur_sigma = (0.1, 2.0)
  augmentation.blur_probability = 0.0
  # RandAugment (arXiv 1909.13719): number of operations an image, 0 for none,
  # and their magnitude; LiT's is 10.
  augmentation.randaug_layers = 0
  augmentation.randaug_magnitude = 10.0
  # Probability that a box of 0.02 to 1/3 of the area becomes noise (random
  # erasing, arXiv 1708.04896, as in timm and open_clip).
  augmentation.erase_probability = 0.0
  return augmentation


def _warp() -> ml_collections.ConfigDict:
  """Return no affine and no perspective change.

  Both are torchvision's, on Pillow's images (RandomAffine, RandomPerspective),
  in one bilinear resampling after crop, mirrors and turns.
  """
  warp = ml_collections.ConfigDict()
  # Largest rotation either way, in degrees.
  warp.degrees = 0.0
  # Largest shift along x and along y either way, as a share of the side.
  warp.translate = (0.0, 0.0)
  # Lowest and highest factor of enlargement.
  warp.scale = (1.0, 1.0)
  # Largest shear along x and along y either way, in degrees.
  warp.shear = (0.0, 0.0)
  # Largest move of a corner as a share of half the side, at most 0.5 (also
  # torchvision's default), and the probability that the perspective changes.
  warp.distortion = 0.5
  warp.perspective_probability = 0.0
  # Level from 0 to 255, in all three colours, of pixels from outside the image.
  warp.fill = 127
  return warp
