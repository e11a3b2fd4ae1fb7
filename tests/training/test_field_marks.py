"""Marks of all fields of a run's config, beside the table they replaced."""

import dataclasses
import fnmatch
import typing

import pytest

from models import dual_encoder
from runtime import marks
from training import config as config_lib

# Fields by their meaning, as patterns of paths; all others are fixed.
_FREE = (
  "total_steps",
  "data.image_protocol",
  "log_every_steps",
  "log_gradients_every_steps",
  "mesh.*",
  "checkpoint.*",
  "hang.*",
  "evaluate.every_steps",
  "evaluate.batch_size",
  "evaluate.max_fraction",
  "evaluate.loss",
  "evaluate.sets.*",
  "loss.block_size",
  "model.remat",
  "model.remat_chunks",
  "num_microbatches",
  "text_lengths",
  "vqa.path",
  "vqa.num_epochs",
  "detection.path",
  "detection.test",
  "data.tests.*",
  "fusion.pair_block",
  "fusion.test_clips",
)
_LOCAL = (
  "data.cache_dir",
  "data.max_bad_fraction",
  "data.num_threads",
  "data.num_prefetch_batches",
  "data.num_workers",
  "data.stall_seconds",
  "trackers.*",
)
_NO_EMBEDDING = (
  "model.dtype",
  "model.remat",
  "model.remat_chunks",
  "model.scale_init",
  "model.scale_max",
  "model.bias_init",
  "model.image.dropout",
  "model.text.dropout",
  "model.image.patch_dropout",
  "model.image.drop_path",
  "model.image.batch_norm_group",
  "model.image.norm_momentum",
  "model.head.*",
)
_PATHS = tuple(marks.paths(config_lib.Config))


def _is_among(path, patterns):
  return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def test_every_field_has_a_mark():
  """A new field fails here until its meaning stands beside it."""
  assert not [path for path, mark in _PATHS if mark is None]
  assert len(_PATHS) > 150


def test_sections_mark_their_own_fields():
  """A mark of the whole section would hide a new field without one.

  Only data.sources and evaluate have such a mark: evaluation sets hold sources
  too, and there the same fields may change.
  """
  hints = typing.get_type_hints(config_lib.Config)
  sections = [
    hints[name]
    for name in ("mesh", "model", "loss", "optimizer", "checkpoint", "hang")
  ]
  sections.append(typing.get_type_hints(hints["data"])["augmentation"])
  for section in sections:
    unmarked = [path for path, mark in marks.paths(section) if mark is None]
    assert not unmarked, section


@pytest.mark.parametrize(("path", "mark"), _PATHS)
def test_each_mark_is_that_of_the_table(path, mark):
  assert mark.is_local == _is_among(path, _LOCAL)
  assert mark.may_change == _is_among(path, (*_FREE, *_LOCAL))
  if path.startswith("model."):
    assert mark.embeds != _is_among(path, _NO_EMBEDDING)
  assert marks.of(config_lib.Config, path) == mark


@pytest.mark.parametrize("pattern", [*_FREE, *_LOCAL, *_NO_EMBEDDING])
def test_every_row_of_the_table_names_a_field(pattern):
  assert any(fnmatch.fnmatchcase(path, pattern) for path, _ in _PATHS)


def test_fields_of_towers_agree():
  """A tower's kind must not change the meaning of a field's name."""
  by_path = {}
  for path, mark in _PATHS:
    assert by_path.setdefault(path, mark) == mark, path


def test_fields_below_a_name_of_the_user():
  mark = marks.of(config_lib.Config, "data.sources.laion.path")
  assert not mark.may_change
  with pytest.raises(KeyError):
    marks.of(config_lib.Config, "model.image.widht")


def test_recomputation():
  assert marks.recomputing(config_lib.Config) == {
    "model.remat": ("none", "dense", "block"),
    "model.remat_chunks": (1, 2, 4, 8),
    "num_microbatches": (1, 2, 4, 8, 16),
  }
  assert marks.no_recomputation(dual_encoder.ModelConfig) == {
    "remat": "none",
    "remat_chunks": 1,
  }


def test_a_field_without_a_mark_is_found():
  made = dataclasses.make_dataclass(
    "Made", [("a", marks.Free[int]), ("b", int)]
  )
  found = dict(marks.paths(made))
  assert found["a"].may_change
  assert found["b"] is None
  with pytest.raises(KeyError, match="b has no mark"):
    marks.of(made, "b")
