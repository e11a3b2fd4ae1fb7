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


@dataclasses.dataclass(frozen=True)
class _Inner:
  number: int
  names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Outer:
  flag: bool
  inner: _Inner


def test_all_fields_that_do_not_fit_are_named():
  values = {"flag": 1, "inner": {"number": "a", "names": (1,), "more": 2}}
  with pytest.raises(ValueError, match="problems:") as raised:
    sections.make(_Outer, values, see="a.py")
  assert str(raised.value).splitlines() == [
    "4 problems:",
    "  flag must be of type bool; got 1 (int)",
    "  The config has unknown inner.more; see a.py",
    "  inner.number must be of type int; got 'a' (str)",
    "  inner.names[0] must be of type str; got 1 (int)",
  ]
  # A text in place of a tuple is one item for later checks, not its letters.
  values["inner"]["names"] = "ab"
  with pytest.raises(ValueError, match=r"names must .*'ab', not \('ab',\)$"):
    sections.make(_Outer, values, see="a.py")
  del values["inner"]["names"], values["inner"]["more"]
  with pytest.raises(ValueError, match=r"3 problems:(.|\n)*lacks inner.names;"):
    sections.make(_Outer, values, see="a.py")
