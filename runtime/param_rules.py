"""Ordered (regex, value) rules over parameter paths."""

import re
from collections.abc import Sequence
from typing import Any

import jax

from runtime import checks


def path_string(path: Sequence[Any]) -> str:
  """Return a tree path as "img/blocks/mlp/up/kernel"."""
  return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def apply(rules: Sequence[tuple[str, Any]], tree: Any, field: str) -> Any:
  """Return a tree like `tree` with the value of each leaf's rule, wrapped.

  Args:
    rules: (regex, value); the first whose regex matches a whole path wins.
    tree: parameters, or any tree with their paths.
    field: config field that the rules come from, for messages.

  Raises:
    ValueError: a leaf that no rule matches, or a rule that wins nowhere.
  """
  patterns = [(re.compile(regex), value) for regex, value in rules]
  used = [False] * len(patterns)
  without: list[str] = []

  def value_of(path, _):
    name = path_string(path)
    for index, (pattern, value) in enumerate(patterns):
      if pattern.fullmatch(name):
        used[index] = True
        # Wrapped, since JAX takes a tuple for a subtree.
        return _Leaf(value)
    without.append(name)
    return _Leaf(None)

  wrapped = jax.tree.map_with_path(value_of, tree)
  if without:
    more = f" and {len(without) - 1} more" if without[1:] else ""
    checks.refuse(
      f"{field} has no rule for parameter {without[0]!r}{more}; add one, or a"
      ' last rule for ".*"'
    )
  for (pattern, _), was_used in zip(patterns, used, strict=True):
    if not was_used:
      checks.refuse(
        f"{field}: the rule {pattern.pattern!r} wins for no parameter; remove"
        " it, or move it up if an earlier rule takes its parameters"
      )
  return wrapped


def first(rules: Sequence[tuple[str, Any]], name: str) -> int | None:
  """Return the index of the rule that wins for a path, None without one."""
  for index, (regex, _) in enumerate(rules):
    if re.fullmatch(regex, name):
      return index
  return None


def values(wrapped: Any, convert=lambda value: value) -> Any:
  """Return the tree of `apply` with `convert(value)` as leaves."""
  return jax.tree.map(
    lambda leaf: convert(leaf.value),
    wrapped,
    is_leaf=lambda x: isinstance(x, _Leaf),
  )


class _Leaf:
  def __init__(self, value: Any):
    self.value = value
