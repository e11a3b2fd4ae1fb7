"""Features of training images, kept in memory or computed for each batch."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.dense import (
  checked_maps,
  dense_set,
  features,
  heads,
  probe_config,
)
from runtime import progress

_GIB = 2**30
# Greatest number of float16, in which features may be kept.
_HALF_MAX = float(np.finfo(np.float16).max)


@dataclasses.dataclass(frozen=True)
class TrainingFeatures:
  """Features of the training images, kept or computed when they are asked for.

  Attributes:
    name: name of the set.
    items: training images.
    extractor: features of the tower.
    head: shape of the head.
    width: length of a token, with the embedding where it is appended.
    kept: features of all images; None where they do not fit.
    storage: how they are kept, or why they are not.
  """

  name: str
  items: tuple[dense_set.Item, ...]
  extractor: features.Extractor
  head: heads.Head
  width: int
  kept: features.Grid | None
  storage: str

  def grid(self, index_b: np.ndarray) -> features.Grid:
    """Return the features of some training images."""
    if self.kept is not None:
      return features.Grid(*(x[index_b] for x in self.kept))
    parts = [*self.extractor.stream([self.items[i] for i in index_b])]
    return features.Grid(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def make(
  opened: dense_set.DenseSet,
  extractor: features.Extractor,
  config: probe_config.ProbeConfig,
  checked: checked_maps.CheckedMaps,
) -> TrainingFeatures:
  """Return the features of the training images, kept where they fit."""
  items, rule = opened.train, opened.rule
  first = next(extractor.stream(items[:1]))
  num_tokens, width = first.tokens_bND.shape[1:]
  pooled = first.pooled_bE.shape[1]
  numbers = len(items) * (num_tokens * width + pooled)
  limit = config.memory_gib * _GIB
  dtype = next(
    (x for x in (np.float32, np.float16) if numbers * x().itemsize <= limit),
    None,
  )
  kept = None
  if dtype is None:
    storage = (
      f"not kept: {numbers * 2 / _GIB:.2g} GiB in float16 are above memory_gib="
      f"{config.memory_gib:g}; computed anew for each batch"
    )
  else:
    storage = f"kept in {np.dtype(dtype).name}"
    kept = _kept(opened.name, items, extractor, dtype)
    if dtype is np.float16:
      _check_half(kept, items, config)
  is_depth = isinstance(rule, dense_set.Depths)
  head = heads.Head(
    is_depth=is_depth,
    num_out=config.num_bins if is_depth else len(rule.names),
    grid=extractor.most_places(first, checked.shapes),
    batch_norm=config.batch_norm,
    with_pooled=config.with_pooled,
    weight_decay=config.weight_decay,
    upsample=config.upsample,
    min_metres=rule.min_metres if is_depth else 0.0,
    max_metres=rule.max_metres if is_depth else 0.0,
  )
  width += pooled * config.with_pooled
  return TrainingFeatures(
    *(opened.name, items, extractor, head, width), kept=kept, storage=storage
  )


def _kept(
  name: str,
  items: Sequence[dense_set.Item],
  extractor: features.Extractor,
  dtype: Any,
) -> features.Grid:
  """Return the features of all images in one array each."""
  arrays: list[np.ndarray] = []
  done = 0
  with progress.Progress(
    f"{name}: features of training images", len(items)
  ) as line:
    for grid in extractor.stream(items):
      if not arrays:
        types = (dtype, np.int32, dtype)
        arrays = [
          np.empty((len(items), *x.shape[1:]), kind)
          for x, kind in zip(grid, types, strict=True)
        ]
      number = len(grid.tokens_bND)
      with np.errstate(over="ignore"):  # _check_half
        for array, part in zip(arrays, grid, strict=True):
          array[done : done + number] = part
      done += number
      line.advance(number)
  return features.Grid(*arrays)


def _check_half(
  kept: features.Grid,
  items: Sequence[dense_set.Item],
  config: probe_config.ProbeConfig,
) -> None:
  """Raise ValueError where a feature is beyond float16."""
  for item, *parts in zip(items, kept.tokens_bND, kept.pooled_bE, strict=True):
    if not all(np.isfinite(x).all() for x in parts):
      raise ValueError(
        f"{item.image}: a feature is beyond {_HALF_MAX:g}, the greatest of"
        f" float16, in which features fit memory_gib={config.memory_gib:g}; a"
        " greater one keeps them in float32, a smaller one computes them anew"
      )
