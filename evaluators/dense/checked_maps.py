"""Maps of a dense set, checked and brought to one size before training."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np

from evaluators.dense import dense_set, maps
from input_pipeline import faults
from input_pipeline.images import picture
from input_pipeline.storage import files
from runtime import progress

_GIB = 2**30
# Maps that are read ahead of what is made of them.
_NUM_AHEAD = 64
_TYPES = {dense_set.SEGMENTATION: np.int16, dense_set.DEPTH: np.float32}


@dataclasses.dataclass(frozen=True)
class CheckedMaps:
  """Facts of a set's maps that training needs.

  Attributes:
    target_ITT: training maps at the side of the targets: int16 labels, or
      float32 metres.
    total_A: float64, training pixels of each class; of depths, the number of
      measured pixels and the sum of their metres.
    shapes: height and width of each image, those of training first.
    image_digests: digest of the content of each training image.
    num_shared: test images whose content a training image has too.
    digest: hex digits of the content of all files, in their order.
  """

  target_ITT: np.ndarray
  total_A: np.ndarray
  shapes: tuple[tuple[int, int], ...]
  image_digests: tuple[bytes, ...]
  num_shared: int
  digest: str

  @property
  def mean_metres(self) -> float:
    """Mean depth of the measured training pixels."""
    return float(self.total_A[1] / self.total_A[0])

  def held_out(self, share: float) -> np.ndarray:
    """Return the images that judge learning rates, at least one, not all.

    They are those whose content has the lowest digests, so that they do not
    depend on names or on their order.
    """
    num = len(self.image_digests)
    order = sorted(range(num), key=lambda i: self.image_digests[i])
    return np.array(
      sorted(order[: min(max(math.ceil(share * num), 1), num - 1)])
    )


class Read(NamedTuple):
  """A map as it is stored, and what is known of its image."""

  map_YX: np.ndarray
  image_digest: bytes
  map_digest: bytes


def read(
  opened: dense_set.DenseSet,
  side: int,
  *,
  memory_gib: float,
  num_threads: int,
) -> CheckedMaps:
  """Read all maps of a set once; raise where one cannot be used.

  Args:
    opened: the set.
    side: side of the training maps that are returned.
    memory_gib: most memory for them.
    num_threads: threads that read.

  Raises:
    ValueError: a map or an image cannot be used, all training pixels are void,
      or the maps do not fit; the message names the file.
  """
  rule, num_train = opened.rule, len(opened.train)
  dtype = _TYPES[opened.kind]
  size = num_train * side**2 * np.dtype(dtype).itemsize
  if size > memory_gib * _GIB:
    raise ValueError(
      f"{opened.name}: {num_train} training maps of {side} x {side} pixels take"
      f" {size / _GIB:.2g} GiB, above memory_gib={memory_gib:g}; expected a"
      " smaller target_side or a greater memory_gib"
    )
  target_ITT = np.empty((num_train, side, side), dtype)
  total_A = np.zeros(
    len(rule.names) if isinstance(rule, dense_set.Classes) else 2
  )
  digest = hashlib.blake2b(digest_size=16)
  shapes, images = [], []
  items = (*opened.train, *opened.test)
  with (
    progress.Progress(f"{opened.name}: maps", len(items)) as line,
    futures.ThreadPoolExecutor(max(1, num_threads)) as pool,
  ):
    for index, one in enumerate(_stream(pool, items, rule, num_train)):
      if index < num_train:
        total_A += _totals(one.map_YX, rule)
        target_ITT[index] = maps.nearest(one.map_YX, side, side)
      digest.update(one.image_digest + one.map_digest)
      height, width = one.map_YX.shape
      shapes.append((height, width))
      images.append(one.image_digest)
      line.advance()
  if not total_A[0] and not total_A.any():
    noun = "measured" if opened.kind == dense_set.DEPTH else "of a class"
    raise ValueError(f"{opened.name}: no training pixel is {noun}")
  train = images[:num_train]
  return CheckedMaps(
    target_ITT=target_ITT,
    total_A=total_A,
    shapes=tuple(shapes),
    image_digests=tuple(train),
    num_shared=sum(x in {*train} for x in images[num_train:]),
    digest=digest.hexdigest(),
  )


def read_one(
  item: dense_set.Item,
  rule: dense_set.Classes | dense_set.Depths,
  *,
  is_test: bool,
) -> Read:
  """Return a map, checked beside its image, which is not decoded.

  Args:
    item: paths of both.
    rule: meaning of its values.
    is_test: whether pixels beyond the rule's crop are none.

  Raises:
    ValueError: one of the files cannot be used; the message names it.
  """
  image = files.read(item.image)
  with faults.located(item.image):
    shape = picture.size(image)
  data = files.read(item.map)
  if isinstance(rule, dense_set.Classes):
    map_YX = maps.read_labels(item.map, data, rule, shape)
  else:
    map_YX = maps.read_metres(item.map, data, rule, shape)
    if is_test and rule.crop:
      map_YX = _cropped(map_YX, rule, item.map)
  digests = (hashlib.blake2b(x, digest_size=16).digest() for x in (image, data))
  return Read(map_YX, *digests)


def _stream(
  pool: futures.Executor,
  items: Sequence[dense_set.Item],
  rule: dense_set.Classes | dense_set.Depths,
  num_train: int,
) -> Iterator[Read]:
  """Yield the maps in their order, some of them read ahead."""
  for start in range(0, len(items), _NUM_AHEAD):
    some = range(start, min(start + _NUM_AHEAD, len(items)))
    yield from pool.map(
      lambda i: read_one(items[i], rule, is_test=i >= num_train), some
    )


def _totals(
  map_YX: np.ndarray, rule: dense_set.Classes | dense_set.Depths
) -> np.ndarray:
  if isinstance(rule, dense_set.Classes):
    in_P = map_YX[map_YX != maps.VOID]
    return np.bincount(in_P, minlength=len(rule.names)).astype(np.float64)
  return np.array([np.count_nonzero(map_YX), map_YX.sum(dtype=np.float64)])


def _cropped(
  map_YX: np.ndarray, rule: dense_set.Depths, path: str
) -> np.ndarray:
  """Return a test map without the pixels that are not judged."""
  if rule.shape and map_YX.shape != rule.shape:
    raise ValueError(
      f"{path} must have {rule.shape[1]} x {rule.shape[0]} pixels, since a part"
      f" of them is judged; got {map_YX.shape[1]} x {map_YX.shape[0]}"
    )
  top, bottom, left, right = rule.crop
  made_YX = np.zeros_like(map_YX)
  made_YX[top:bottom, left:right] = map_YX[top:bottom, left:right]
  return made_YX
