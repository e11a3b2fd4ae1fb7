"""Parameters from tensors under other names, each of them accounted for."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from models.pretrained import forms

# In a name there, the index of a layer; the parameter here stacks all layers.
LAYER = "{layer}"
Tensors = Mapping[str, np.ndarray]
Resize = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


class MappingError(ValueError):
  """Tensors and parameters that do not fit; the message lists each of them."""


@dataclasses.dataclass(frozen=True)
class Link:
  """Some parameters here and the tensors that hold them there.

  Attributes:
    ours: paths, such as "img/blocks/attn/query/kernel".
    theirs: names; all with LAYER in them, or none.
    form: between arrays of `theirs` and of `ours`, of one layer at a time.
    resize: makes an array (here, all layers) fit a shape it does not have.
    optional: whether `theirs` may all be missing; then `ours` keep their
      values.
    default: value of `ours` where all `theirs` are missing, or where there are
      none: a format that has no such parameter. It is not written.
    also: other spellings of `theirs`, where published files differ in names
      only; the first that is in the file is read, `theirs` is written.
  """

  ours: tuple[str, ...]
  theirs: tuple[str, ...]
  form: forms.Form = forms.SAME
  resize: Resize | None = None
  optional: bool = False
  default: float | None = None
  also: tuple[tuple[str, ...], ...] = ()


def link(
  ours: str | Sequence[str],
  theirs: str | Sequence[str] = (),
  form: forms.Form = forms.SAME,
  **fields: Any,
) -> Link:
  """Return a Link; single names need not be wrapped."""
  return Link(_names(ours), _names(theirs), form, **fields)


def spelled(
  links: Sequence[Link], *renames: Callable[[str], str]
) -> tuple[Link, ...]:
  """Return links that also know names as each of `renames` makes them."""
  return tuple(
    dataclasses.replace(
      entry,
      also=entry.also
      + tuple(tuple(rename(n) for n in entry.theirs) for rename in renames),
    )
    for entry in links
  )


def load(
  links: Sequence[Link],
  tensors: Tensors,
  shapes: Any,
  *,
  ignored: Sequence[str] = (),
  prefix: str = "",
) -> dict[str, np.ndarray]:
  """Return parameters by path, float32.

  Args:
    links: of the whole file.
    tensors: by name; may read lazily.
    shapes: of our parameters, a tree of what has `shape`.
    ignored: regular expressions (fullmatch) of names that hold no parameter,
      such as buffers of positions.
    prefix: only parameters below it are looked for ("img/": one tower); links
      of others merely account for their tensors.

  Raises:
    MappingError: a tensor is missing, left over or of the wrong shape, or a
      parameter has no link.
  """
  wanted = {
    path: tuple(x.shape)
    for path, x in flat(shapes).items()
    if path.startswith(prefix)
  }
  problems = collections.defaultdict(list)
  params, used = {}, set()
  for entry in links:
    entry = dataclasses.replace(entry, theirs=_spelling(entry, tensors))
    depth = _depth(entry, wanted, tensors)
    names = [_at(name, i) for i in range(depth) for name in entry.theirs]
    used.update(names)
    if not all(path in wanted for path in entry.ours):
      continue
    if entry.default is not None and not any(n in tensors for n in names):
      for path in entry.ours:
        params[path] = np.full(wanted.pop(path), entry.default, np.float32)
      continue
    missing = [name for name in names if name not in tensors]
    if missing and not (entry.optional and len(missing) == len(names)):
      problems["missing"] += [f"{n} (for {entry.ours[0]})" for n in missing]
    if missing:
      for path in entry.ours:
        del wanted[path]
      continue
    for path, array in zip(
      entry.ours, _read(entry, depth, tensors), strict=True
    ):
      shape = wanted.pop(path)
      if array.shape != shape and entry.resize is not None:
        array = entry.resize(array, shape)
      if array.shape != shape:
        problems["of another shape"].append(
          f"{entry.theirs[0]}: expected {shape} for {path}; got {array.shape}"
        )
      params[path] = np.asarray(array, np.float32)
  problems["not to be filled (no tensor is known)"] += wanted
  problems["left over"] += [
    name
    for name in tensors
    if name not in used and not any(re.fullmatch(x, name) for x in ignored)
  ]
  _raise(problems)
  return params


def save(links: Sequence[Link], params: Mapping[str, Any]) -> dict[str, Any]:
  """Return tensors by name, the inverse of `load`.

  Args:
    links: of the whole file.
    params: by path, NumPy arrays.

  Raises:
    MappingError: a parameter has no link, or the format has no tensor for it
      and another value.
  """
  problems = collections.defaultdict(list)
  tensors, used = {}, set()
  for entry in links:
    if not all(path in params for path in entry.ours):
      continue
    used.update(entry.ours)
    arrays = [params[path] for path in entry.ours]
    if entry.default is not None:
      others = [p for p in entry.ours if np.any(params[p] != entry.default)]
      if not entry.theirs:
        problems[f"always {entry.default} there"] += [
          f"{path}: got {params[path]}" for path in others
        ]
      if not entry.theirs or not others:
        continue
    layered = _layered(entry)
    for i in range(len(arrays[0]) if layered else 1):
      saved = entry.form.save([x[i] for x in arrays] if layered else arrays)
      for name, array in zip(entry.theirs, saved, strict=True):
        # Not np.ascontiguousarray, which gives a number an axis.
        tensors[_at(name, i)] = np.asarray(array, order="C")
  problems["without a name there"] += [p for p in params if p not in used]
  _raise(problems)
  return tensors


def flat(tree: Any) -> dict[str, Any]:
  """Return the leaves of a nested dict by path."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """Return the nested dict of leaves by path."""
  tree: dict[str, Any] = {}
  for path, leaf in leaves.items():
    *folders, name = path.split("/")
    place = tree
    for folder in folders:
      place = place.setdefault(folder, {})
    place[name] = leaf
  return tree


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
  return (names,) if isinstance(names, str) else tuple(names)


def _at(name: str, layer: int) -> str:
  return name.replace(LAYER, str(layer))


def _layered(entry: Link) -> bool:
  return any(LAYER in name for name in entry.theirs)


def _spelling(entry: Link, tensors: Tensors) -> tuple[str, ...]:
  for theirs in (entry.theirs, *entry.also):
    if any(_at(name, 0) in tensors for name in theirs):
      return theirs
  return entry.theirs


def _depth(entry: Link, wanted: Mapping[str, Any], tensors: Tensors) -> int:
  """Return the number of layers, as the file has it where nothing is wanted."""
  if not _layered(entry):
    return 1
  if entry.ours[0] in wanted:
    return wanted[entry.ours[0]][0]
  depth = 0
  while _at(entry.theirs[0], depth) in tensors:
    depth += 1
  return depth


def _read(entry: Link, depth: int, tensors: Tensors) -> Iterable[np.ndarray]:
  layers = [
    entry.form.load([tensors[_at(name, i)] for name in entry.theirs])
    for i in range(depth)
  ]
  if not _layered(entry):
    return layers[0]
  return [np.stack(arrays) for arrays in zip(*layers, strict=True)]


def _raise(problems: Mapping[str, Sequence[str]]) -> None:
  lines = [
    f"{len(items)} {kind}:\n  " + "\n  ".join(items)
    for kind, items in problems.items()
    if items
  ]
  if lines:
    raise MappingError("The weights do not fit. " + "\n".join(lines))
