"""Nested mappings as one mapping by path."""

import dataclasses

import pytest

from runtime import sections


@dataclasses.dataclass(frozen=True)
class _Section:
  path: str
  added: str = "none"


def test_a_field_that_older_versions_lack_has_its_default():
  make = sections.make
  assert make(_Section, {"path": "a"}, see="x") == _Section("a", "none")
  values = {"path": "a", "added": "b"}
  assert make(_Section, values, see="x") == _Section("a", "b")
  with pytest.raises(ValueError, match="lacks path; see x"):
    make(_Section, {"added": "b"}, see="x")


def test_leaves_by_path():
  values = {"b": {"a": 1, "c": {"d": (2,)}}, "a": None, "none": {}}
  assert sections.flat(values) == {"b.a": 1, "b.c.d": (2,), "a": None}
  assert list(sections.flat(values, "/")) == ["b/a", "b/c/d", "a"]
