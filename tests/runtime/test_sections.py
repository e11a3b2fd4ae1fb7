"""Nested mappings as one mapping by path."""

from runtime import sections


def test_leaves_by_path():
  values = {"b": {"a": 1, "c": {"d": (2,)}}, "a": None, "none": {}}
  assert sections.flat(values) == {"b.a": 1, "b.c.d": (2,), "a": None}
  assert list(sections.flat(values, "/")) == ["b/a", "b/c/d", "a"]
