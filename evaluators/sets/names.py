"""Class names and templates that ship with the code, by key of a set.

They are those of the PyPI package clip-benchmark 1.6.2 (MIT, its licence in
data/CLIP_BENCHMARK_LICENSE), for sets whose own files lack them. A set's own
files come first.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

ORIGIN = "clip-benchmark 1.6.2"

_DATA = pathlib.Path(__file__).parent / "data" / "clip_benchmark.json"
# Sets with the classes and the templates of ImageNet.
_IMAGENET = (
  *("imagenet1k", "imagenet_sketch", "imagenetv2", "imagenet-a"),
  *("imagenet-o", "imagenet-r", "objectnet"),
)


@functools.cache
def _data() -> Mapping[str, Any]:
  return json.loads(_DATA.read_text("utf-8"))


def classes(key: str) -> tuple[str, ...]:
  """Return the names of a set's classes by label, () where none ship.

  >>> classes("imagenetv2")[:2], len(classes("imagenet-a")), classes("cars")
  (('tench', 'goldfish'), 200, ())
  """
  name = key.rpartition("/")[2]
  subset = _data()["subsets"].get(name)
  if subset is not None:
    every = _data()["classes"]["imagenet1k"]
    return tuple(every[i] for i in subset)
  if name == "objectnet":  # classes of its own
    return ()
  name = "imagenet1k" if name in _IMAGENET else name
  name = "caltech101_vtab" if name == "caltech101" else name
  return tuple(_data()["classes"].get(name, ()))


def templates(key: str) -> tuple[str, ...]:
  """Return the templates of a set, {c} for the class; () where none ship.

  >>> len(templates("imagenet-r")), templates("vtab/flowers")
  (80, ('a photo of a {c}, a type of flower.',))
  """
  name = key.rpartition("/")[2]
  name = "imagenet1k" if name in _IMAGENET else name
  return tuple(_data()["templates"].get(name, ()))


def synsets(key: str) -> tuple[str, ...]:
  """Return the WordNet synset of each class of an ImageNet set, else ().

  >>> synsets("imagenet1k")[:2], len(synsets("imagenet-o"))
  (('n01440764', 'n01443537'), 200)
  """
  every: Sequence[str] = _data()["synsets"]["imagenet1k"]
  subset = _data()["subsets"].get(key)
  if subset is not None:
    return tuple(every[i] for i in subset)
  return tuple(every) if key in ("imagenet1k", "imagenet_sketch") else ()
