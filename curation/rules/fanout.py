"""Counts over all shards: captions of an image, images of a caption, pairs.

Jia et al. (ALIGN, arXiv 2102.05918, section 3) drop images that go with over
1000 alt-texts, and alt-texts that over 10 images share. COYO-700M (README.md of
kakaobrain/coyo-dataset) drops texts that appear more than 10 times, and all but
one of the pairs that have image hash and text in common.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators, pool
from curation.on_disk import groups, key_sets, table_keys
from runtime import checks


@dataclasses.dataclass(frozen=True)
class ImageFanout(operators.Filter, operators.Reduction):
  """Drop images that go with too many different captions.

  Pairs whose image has no name are kept.

  Attributes:
    image: column that names the image: "url", or a hash of its content.
    max_texts: highest number of captions with which an image is kept.
    raw: whether all pairs of the pool are counted, also those that earlier
      steps dropped.
  """

  image: str
  max_texts: int
  raw: bool

  @property
  def columns(self) -> tuple[str, ...]:
    return (self.image,)

  @property
  def measured(self) -> tuple[str, ...]:
    return (self.image, "text")

  @property
  def measures_raw(self) -> bool:
    return self.raw

  def check(self, field: str) -> None:
    if not self.image:
      checks.refuse(
        f"{field}.image must name the column that tells images apart, as url;"
        " got ''"
      )
    checks.at_least(f"{field}.max_texts", self.max_texts, 1)

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    fn = functools.partial(_keys_and_values, self.image, "text", False)
    return _measure(groups.Values(self.max_texts), fn)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    facts = groups.keys_of_many_values(
      parts, _path(context), context.run, above=self.max_texts
    )
    return {
      "num_images": facts["num_keys"],
      "num_images_dropped": facts["num_keys_above"],
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    return _dropping(context, self.image, squeeze=False)


@dataclasses.dataclass(frozen=True)
class TextFanout(operators.Filter, operators.Reduction):
  """Drop captions that too many images share.

  Attributes:
    image: column that names the image, to count different images. ""
      counts the occurrences of the caption.
    max_images: highest count with which a caption is kept.
    squeeze: whether captions that differ in whitespace only are the same.
    raw: whether all pairs of the pool are counted, also those that earlier
      steps dropped.
  """

  image: str
  max_images: int
  squeeze: bool
  raw: bool

  columns = ("text",)

  @property
  def measured(self) -> tuple[str, ...]:
    return ("text", self.image) if self.image else ("text",)

  @property
  def measures_raw(self) -> bool:
    return self.raw

  def check(self, field: str) -> None:
    checks.at_least(f"{field}.max_images", self.max_images, 1)

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    if not self.image:
      fn = functools.partial(_keys, ("text",), self.squeeze)
      return _measure(groups.Occurrences(), fn)
    fn = functools.partial(_keys_and_values, "text", self.image, self.squeeze)
    return _measure(groups.Values(self.max_images), fn)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    reduce_fn = groups.keys_of_many_values
    if not self.image:
      reduce_fn = groups.frequent_keys
    facts = reduce_fn(parts, _path(context), context.run, above=self.max_images)
    return {
      "num_texts": facts["num_keys"],
      "num_texts_dropped": facts["num_keys_above"],
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    return _dropping(context, "text", self.squeeze)


@dataclasses.dataclass(frozen=True)
class DuplicatePairs(operators.Filter, operators.Reduction):
  """Keep one of the pairs that have the same values in the `same` columns.

  The pair that stays is drawn by a hash of the UIDs. Pairs without a value in
  one of the columns are all kept.

  Attributes:
    same: columns, as ("phash", "text"), of texts, bytes or whole numbers.
    squeeze: whether texts that differ in whitespace only are the same.
    seed: random seed of the draw.
  """

  same: tuple[str, ...]
  squeeze: bool
  seed: int

  @property
  def columns(self) -> tuple[str, ...]:
    return self.same

  def check(self, field: str) -> None:
    if not self.same:
      checks.refuse(f"{field}.same must name at least one column; got ()")

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    fn = functools.partial(_keys_and_uids, self.same, self.squeeze)
    return _measure(groups.Members(self.seed), fn)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    facts = groups.winners(parts, _path(context), context.run)
    return {
      "num_groups": facts["num_keys"],
      "num_groups_of_several": facts["num_keys_above"],
    }

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    winners = key_sets.Winners(_path(context))

    def decide(table: pa.Table) -> operators.Verdict:
      keys, is_whole = table_keys.of(table, self.same, squeeze=self.squeeze)
      wins = winners.keep(keys, pool.uids(table))
      return operators.Verdict(wins | ~is_whole)

    return decide


def _measure(
  gathered: groups.Occurrences | groups.Values | groups.Members,
  columns_fn: Callable[[pa.Table], tuple[np.ndarray, ...]],
) -> operators.Measure:
  return operators.MeasureOf(
    lambda table: gathered.add(*columns_fn(table)), gathered.save
  )


def _keys_and_values(
  key: str, value: str, squeeze: bool, table: pa.Table
) -> tuple[np.ndarray, ...]:
  keys, has_key = table_keys.of(table, (key,), squeeze=squeeze)
  values, has_value = table_keys.of(table, (value,), squeeze=squeeze)
  is_whole = has_key & has_value
  return keys[is_whole], values[is_whole]


def _keys(
  names: tuple[str, ...], squeeze: bool, table: pa.Table
) -> tuple[np.ndarray, ...]:
  keys, is_whole = table_keys.of(table, names, squeeze=squeeze)
  return (keys[is_whole],)


def _keys_and_uids(
  names: tuple[str, ...], squeeze: bool, table: pa.Table
) -> tuple[np.ndarray, ...]:
  keys, is_whole = table_keys.of(table, names, squeeze=squeeze)
  return keys[is_whole], pool.uids(table)[is_whole]


def _dropping(
  context: operators.StepContext, name: str, squeeze: bool
) -> operators.DecideFn:
  """Return a function that drops the pairs whose key is in the step's file."""
  dropped = key_sets.Keys(_path(context))

  def decide(table: pa.Table) -> operators.Verdict:
    keys, is_whole = table_keys.of(table, (name,), squeeze=squeeze)
    return operators.Verdict(~(dropped.contains(keys) & is_whole))

  return decide


def _path(context: operators.StepContext) -> pathlib.Path:
  return context.state / "keys"
