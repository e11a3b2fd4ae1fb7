"""Small sets of each kind, whose embeddings are drawn at random."""

import functools
import hashlib
import json

import numpy as np

from evaluators import embedding
from evaluators.sets import field_set
from evaluators.sets.gazetteers import gazetteer
from tests.evaluators import meshes

WIDTH = 16
NUM = 24
# Kinds of FieldSet; behind a blank, a form of the kind.
KINDS = (
  *("classification", "classification groups", "multilabel", "retrieval"),
  *("retrieval languages", "selection 2x2", "selection texts"),
  *("selection images", "faces", "classification unseen", "places"),
)
_CLASSES = tuple("abcdef")
_SIZES = {"2x2": (2, 2), "texts": (1, 2), "images": (10, 1)}


def embed(texts):
  """Return a row of length 1 that depends on the text alone."""
  seeds = [
    int.from_bytes(hashlib.blake2b(x.encode(), digest_size=4).digest())
    for x in texts
  ]
  rows = [np.random.default_rng(x).normal(size=WIDTH) for x in seeds]
  return meshes.unit(np.stack(rows).astype(np.float32))


mesh = functools.cache(meshes.make_mesh)


def make(kind, folder):
  """Return a set of a kind, and its examples."""
  kind, _, form = kind.partition(" ")
  fields, texts = _KINDS[kind](form, folder)
  rng = np.random.default_rng(0)
  zimg = meshes.unit(rng.normal(size=(NUM, WIDTH)).astype(np.float32))
  keys = tuple(f"k{i}" for i in range(NUM))
  examples = embedding.Examples(tuple(range(NUM)), keys, tuple(texts), zimg)
  return field_set.FieldSet("mine", kind, {}, **fields), examples


def _classification(form, folder):
  del folder
  fields = {"classes": _CLASSES, "templates": ("a {c}", "{c}!")}
  if form == "unseen":
    fields |= {"ks": (3,), "unseen": (1, 4)}
  if form != "groups":
    texts = [{field_set.LABELS: (str(i % 6),)} for i in range(NUM)]
    return fields | {"texts": ("label",)}, texts
  texts = [{field_set.LABELS: (str(i % 6), f"{i % 3}")} for i in range(NUM)]
  return fields | {"texts": ("label", "groups"), "fields": ("region",)}, texts


def _multilabel(form, folder):
  del form, folder
  targets = np.random.default_rng(1).random((NUM, 6)) < 0.3
  targets[:2] = [[False] * 6, [True] * 6]
  fields = {"classes": _CLASSES, "templates": ("{c}",), "texts": ("targets",)}
  return fields, [
    {field_set.LABELS: (" ".join(map(str, row.astype(int))),)}
    for row in targets
  ]


def _retrieval(form, folder):
  del folder
  languages = ("de", "en", "fr", "ja", "th") if form else ("en",)
  return {}, [
    {x: (f"{x} {i} one", f"{x} {i} two") for x in languages} for i in range(NUM)
  ]


def _selection(form, folder):
  num_images, num_texts = _SIZES[form]
  right = [[t] if t < num_images else [] for t in range(num_texts)]
  items = [
    {
      "images": [f"k{(k + i) % NUM}" for i in range(num_images)],
      "texts": [f"item {k} text {t}" for t in range(num_texts)],
      "right": [[0, 3]] if form == "images" else right,
      "tag": "a tag",
    }
    for k in range(8)
  ]
  path = folder / "items.jsonl"
  path.write_text("".join(json.dumps(item) + "\n" for item in items))
  return {"items": str(path)}, [{}] * NUM


def _faces(form, folder):
  del form, folder
  names = {"race": 7, "gender": 2, "age": 9, "toxic": 22}
  objectives = {
    name: (tuple(f"{name} {i}" for i in range(num)), ("{c}",))
    for name, num in names.items()
  }
  attributes = {"age": 9, "gender": 2, "race": 7, "race_binary": 2}
  texts = [
    {field_set.LABELS: (" ".join(str(i % n) for n in attributes.values()),)}
    for i in range(NUM)
  ]
  fields = {"objectives": objectives, "fields": tuple(attributes)}
  return fields | {"texts": ("groups",)}, texts


def _places(form, folder):
  del form, folder
  rng = np.random.default_rng(2)
  degrees = rng.uniform((-60, -180), (60, 180), (8, 2))
  cities = gazetteer.Gazetteer(
    names=tuple(f"city {i}" for i in range(8)),
    countries=("one", "two", "three"),
    country_C=np.arange(8) % 3,
    degrees_C2=degrees,
    digest="0",
  )
  places = field_set.Places(
    cities,
    tuple(f"{x}, {i}" for x in cities.countries for i in range(2)),
    tuple(f"{x}." for x in cities.names),
    num_cities=2,
  )
  texts = [
    {field_set.LABELS: tuple(f"={x}" for x in degrees[i % 8])}
    for i in range(NUM)
  ]
  return {"places": places, "texts": ("latitude", "longitude")}, texts


_KINDS = {
  "places": _places,
  "classification": _classification,
  "multilabel": _multilabel,
  "retrieval": _retrieval,
  "selection": _selection,
  "faces": _faces,
}
