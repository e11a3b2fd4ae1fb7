"""Filters that corruptions share; each restates a library's filter exactly.

The published sets were made with scikit-image, OpenCV and ImageMagick, which
are no requirements here. Where their results are defined by a formula, that is
computed with NumPy and SciPy; edges are treated as they treat them.
"""

import math

import numpy as np
import scipy  # fft and ndimage take half a second, and load at their first use


def truncated(image_YXC: np.ndarray) -> np.ndarray:
  """Return values of 0 to 255 as uint8, rounded down as the authors do.

  An error of arithmetic below an integer, up to 1e-6, does not cost a level:
  the same image comes out on every machine.
  """
  return (np.clip(image_YXC, 0, 255) + 1e-6).astype(np.uint8)


def gaussian(image_YXC: np.ndarray, sigma: float) -> np.ndarray:
  """Blur each channel, edges repeated: scikit-image's `gaussian`.

  The kernel ends at 4 sigma.
  """
  return scipy.ndimage.gaussian_filter(
    image_YXC, (sigma, sigma, 0), mode="nearest", truncate=4
  )


def smooth_field(field_YX: np.ndarray, sigma: float) -> np.ndarray:
  """Blur by a Gaussian that ends at 3 sigma, the edges reflected.

  It may be wider than the field: 170 pixels in ImageNet-C. Reflection at the
  edge makes a symmetric filter a product in the space of the cosine transform.
  """
  response = []
  for length in field_YX.shape:
    offset = np.arange(1, int(3 * sigma + 0.5) + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2) if sigma else np.empty(0)
    wave = np.cos(np.pi / length * np.outer(np.arange(length), offset))
    response.append((1 + 2 * wave @ weight) / (1 + 2 * weight.sum()))
  waves = scipy.fft.dctn(field_YX, norm="ortho")
  return scipy.fft.idctn(
    waves * response[0][:, None] * response[1][None], norm="ortho"
  )


def correlate(image_YXC: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """Filter each channel with a symmetric kernel of odd side, edges mirrored.

  The edge itself is not repeated (OpenCV's BORDER_REFLECT_101). By FFT, as
  OpenCV does from 11 x 11 on.
  """
  radius = len(kernel) // 2
  margins = ((radius, radius), (radius, radius), (0, 0))
  padded = np.pad(image_YXC, margins, mode="reflect")
  shape = [
    scipy.fft.next_fast_len(side, real=True) for side in padded.shape[:2]
  ]
  spectrum = scipy.fft.rfft2(padded, shape, axes=(0, 1))
  spectrum *= scipy.fft.rfft2(kernel, shape)[..., None]
  full = scipy.fft.irfft2(spectrum, shape, axes=(0, 1))
  height, width = image_YXC.shape[:2]
  start = 2 * radius
  return full[start : start + height, start : start + width]


def motion(
  image_YXC: np.ndarray, radius: int, sigma: float, angle: float
) -> np.ndarray:
  """Blur along a line, one-sided, edges repeated: ImageMagick's motion blur.

  Source: MagickCore/effect.c, MotionBlurImage: 2 * radius + 1 taps from each
  pixel on, weighted by a half Gaussian, at whole pixels.

  Args:
    image_YXC: uint8, of any number of channels.
    radius: in pixels.
    sigma: of the Gaussian, in pixels.
    angle: of the line, in degrees, clockwise from the x axis.

  Returns:
    uint8, rounded down.
  """
  num_taps = 2 * math.ceil(radius) + 1
  tap = np.arange(num_taps)
  weight = np.exp(-0.5 * (tap / sigma) ** 2)
  weight /= weight.sum()
  # Half a pixel is rounded down, which `round` would not do.
  step_x = np.ceil(tap * math.cos(math.radians(angle)) - 0.5).astype(int)
  step_y = np.ceil(tap * math.sin(math.radians(angle)) - 0.5).astype(int)
  height, width = image_YXC.shape[:2]
  margins = ((num_taps, num_taps), (num_taps, num_taps), (0, 0))
  padded = np.pad(image_YXC, margins, mode="edge").astype(np.float32)
  total = np.zeros(image_YXC.shape, np.float32)
  for share, x, y in zip(
    weight, step_x + num_taps, step_y + num_taps, strict=True
  ):
    total += np.float32(share) * padded[y : y + height, x : x + width]
  return truncated(total)


def zoom(image_YXC: np.ndarray, factor: float) -> np.ndarray:
  """Enlarge the middle of an image to its size, bilinearly.

  The outermost pixels of the crop stay the outermost ones (SciPy's `zoom` of
  order 1); pixels beyond the size are cut off.
  """
  for axis in (0, 1):
    length = image_YXC.shape[axis]
    cropped = math.ceil(length / factor)
    zoomed = round(cropped * factor)
    start, trimmed = (length - cropped) // 2, (zoomed - length) // 2
    at = np.linspace(0, cropped - 1, zoomed)[trimmed : trimmed + length]
    low = np.minimum(at.astype(int), max(cropped - 2, 0))
    share = (at - low).astype(image_YXC.dtype)
    share = share.reshape(-1, 1, 1) if axis == 0 else share.reshape(1, -1, 1)
    first = image_YXC.take(start + low, axis)
    last = start + np.minimum(low + 1, cropped - 1)
    image_YXC = first + share * (image_YXC.take(last, axis) - first)
  return image_YXC


def sample(
  image_YXC: np.ndarray, y_YX: np.ndarray, x_YX: np.ndarray, mode: str
) -> np.ndarray:
  """Return an image's values at positions [Y, X], bilinearly.

  `mode` is SciPy's for positions beyond the edge.
  """
  return np.stack(
    [
      scipy.ndimage.map_coordinates(plane, (y_YX, x_YX), order=1, mode=mode)
      for plane in np.moveaxis(image_YXC, 2, 0)
    ],
    axis=-1,
  )
