"""Parameters from tensors under other names; every tensor is accounted for."""

import collections
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np

from models.pretrained import forms
from runtime import checks, sections

# Index of a layer in a tensor's name; our parameter stacks all layers.
LAYER = "{layer}"
Tensors = Mapping[str, np.ndarray]
Resize = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]

# Names of one kind of problem that a message lists.
_NUM_LISTED = 4
# A scale of logits above exp of this is none.
_MAX_LOG_SCALE = 50.0


class MappingError(ValueError):
  """Tensors that do not fit the parameters.

  Attributes:
    problems: by kind, names (and details); the message, one line, lists the
      first few of each kind.
  """

  def __init__(self, problems: Mapping[str, Sequence[str]], source: str = ""):
    self.problems = {kind: list(x) for kind, x in problems.items() if x}
    parts = []
    for kind, items in self.problems.items():
      listed = ", ".join(items[:_NUM_LISTED])
      if more := len(items[_NUM_LISTED:]):
        listed += f" and {more} more"
      parts.append(f"{len(items)} {kind}: {listed}")
    super().__init__(f"{source}the weights do not fit: {'; '.join(parts)}")


@dataclasses.dataclass(frozen=True)
class Link:
  """Parameters of ours and the tensors of a file that hold them.

  Attributes:
    ours: paths, such as "img/blocks/attn/query/kernel".
    theirs: names of tensors; all of them with LAYER, or none.
    form: between arrays of `theirs` and of `ours`, of one layer at a time.
    resize: function that fits one of our arrays (all layers) to another shape.
    optional: whether `theirs` may all be missing; then `ours` keep their
      values.
    default: value of `ours` if all `theirs` are missing, or if a format has no
      such parameter (`theirs` is empty). It is not written.
    also: other spellings of `theirs`, for published files that differ in names
      only; the first that is in the file is read, `theirs` is written.
  """

  ours: tuple[str, ...]
  theirs: tuple[str, ...]
  form: forms.Form = forms.SAME
  resize: Resize | None = None
  optional: bool = False
  default: float | None = None
  also: tuple[tuple[str, ...], ...] = ()


class _Unreadable(ValueError):
  """Tensor that exists, but holds no finite floating-point numbers."""


def number(tensors: Tensors, name: str) -> float:
  """Return the one number that a tensor holds, whatever its shape.

  Raises:
    ValueError: it is missing, not finite, or not one number.
  """
  if name not in tensors:
    begin = ", ".join(itertools.islice(tensors, 3))
    raise ValueError(
      f"tensor {name} is missing; expected it among the {len(tensors)} tensors,"
      f" which begin with {begin or 'none'}"
    )
  array = _read_one(tensors, name)
  if array.size != 1:
    raise ValueError(
      f"tensor {name} must be one number; got the shape {array.shape}"
    )
  return float(array.item())


def scale(tensors: Tensors, name: str) -> float:
  """Return the scale of logits whose logarithm is a tensor.

  Raises:
    ValueError: as `number`, or the scale is out of range.
  """
  value = number(tensors, name)
  checks.between(f"tensor {name}", value, -_MAX_LOG_SCALE, _MAX_LOG_SCALE)
  return math.exp(value)


def count(tensors: Container[str], pattern: str) -> int:
  """Return how many of `pattern`, formatted with 0, 1, 2 and so on, exist."""
  return next(i for i in itertools.count() if pattern.format(i) not in tensors)


def link(
  ours: str | Sequence[str],
  theirs: str | Sequence[str] = (),
  form: forms.Form = forms.SAME,
  **fields: Any,
) -> Link:
  """Return a Link; a single name needs no tuple."""
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
    links: links of the whole file.
    tensors: tensors by name; may be read lazily.
    shapes: tree of our parameters' shapes (leaves with a `shape`).
    ignored: regular expressions (fullmatch) of tensors that hold no parameter,
      such as buffers of positions.
    prefix: parameters to return begin so ("img/": one tower); links of others
      only account for their tensors.

  Raises:
    MappingError: a tensor is missing, left over or of the wrong shape, or a
      parameter has no link.
  """
  wanted = {
    path: tuple(x.shape)
    for path, x in sections.flat(shapes, "/").items()
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
    shapes_here = [wanted.pop(path) for path in entry.ours]
    try:
      arrays = _resized(entry, _read(entry, depth, tensors), shapes_here)
    except _Unreadable as error:
      problems["not to be used"].append(str(error))
      continue
    except (ValueError, IndexError, TypeError) as error:
      # The form does not apply.
      reason = " ".join(str(error).split())
      problems["of another shape"].append(f"{names[0]}: {reason}")
      continue
    for path, array, shape in zip(entry.ours, arrays, shapes_here, strict=True):
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
  raise_any(problems)
  return params


def save(links: Sequence[Link], params: Mapping[str, Any]) -> dict[str, Any]:
  """Return tensors by name, the inverse of `load`.

  Args:
    links: links of the whole file.
    params: NumPy arrays by path.

  Raises:
    MappingError: a parameter has no link, or its value is not the default of a
      link without tensors.
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
  raise_any(problems)
  return tensors


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
  """Return the nested dict of leaves by path."""
  tree: dict[str, Any] = {}
  for path, leaf in leaves.items():
    *folders, name = path.split("/")
    node = tree
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = leaf
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
  """Return the number of layers: ours, or the file's if ours is not wanted."""
  if not _layered(entry):
    return 1
  if entry.ours[0] in wanted:
    # A description may claim any number; the first that is missing is enough.
    return min(wanted[entry.ours[0]][0], len(tensors) + 1)
  return count(tensors, entry.theirs[0].replace(LAYER, "{}"))


def _read(entry: Link, depth: int, tensors: Tensors) -> Sequence[np.ndarray]:
  layers = [
    entry.form.load([_read_one(tensors, _at(name, i)) for name in entry.theirs])
    for i in range(depth)
  ]
  if not _layered(entry):
    return layers[0]
  return [np.stack(arrays) for arrays in zip(*layers, strict=True)]


def _read_one(tensors: Tensors, name: str) -> np.ndarray:
  try:
    array = np.asarray(tensors[name])
  except ValueError as error:  # a broken file
    raise _Unreadable(str(error)) from error
  if array.dtype.kind != "f":
    raise _Unreadable(
      f"tensor {name}: expected floating-point numbers; got {array.dtype}"
    )
  # Both are NaN if a number is.
  if array.size and not np.isfinite([array.min(), array.max()]).all():
    kind = "NaN" if np.isnan(array).any() else "an infinite number"
    raise _Unreadable(f"tensor {name} has {kind} in it")
  return array


def _resized(
  entry: Link,
  arrays: Sequence[np.ndarray],
  shapes: Sequence[tuple[int, ...]],
) -> list[np.ndarray]:
  return [
    array
    if array.shape == shape or entry.resize is None
    else entry.resize(array, shape)
    for array, shape in zip(arrays, shapes, strict=True)
  ]


def raise_any(problems: Mapping[str, Sequence[str]]) -> None:
  """Raise MappingError if there is a problem of any kind."""
  if any(problems.values()):
    raise MappingError(problems)
