"""Sections of configs, and nested mappings as one mapping by path."""

import dataclasses

import pytest

from runtime import sections


@dataclasses.dataclass(frozen=True)
class _Section:
  path: str
  encoding: str = ""


def test_a_field_with_a_default_may_be_absent_as_in_older_files():
  assert sections.make(_Section, {"path": "a"}, see="x") == _Section("a")
  with pytest.raises(ValueError, match="The config lacks path; see x"):
    sections.make(_Section, {"encoding": "a"}, see="x")


def test_leaves_by_path():
  values = {"b": {"a": 1, "c": {"d": (2,)}}, "a": None, "none": {}}
  assert sections.flat(values) == {"b.a": 1, "b.c.d": (2,), "a": None}
  assert list(sections.flat(values, "/")) == ["b/a", "b/c/d", "a"]
