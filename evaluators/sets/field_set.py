"""A set of the field, opened: the section to evaluate, and facts about it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from evaluators.sets import datacomp, videos
from evaluators.sets.gazetteers import gazetteer

# Kinds of sections, and the evaluation that each is for.
KINDS = (
  *("classification", "multilabel", "retrieval", "selection", "faces"),
  "places",
)
# Language of labels, which are no captions: "no linguistic content", ISO 639-2.
LABELS = "zxx"


@dataclasses.dataclass(frozen=True)
class FieldSet:
  """A set whose files are there; no image was read.

  Attributes:
    name: key of the set, or the name of its folder.
    kind: one of KINDS.
    source: section of its source (configs/parts/sources.py), plain data.
    texts: what each text of an example is, in order: "label" (a number), "name"
      (one of `values`), "targets" (0 or 1 for each class), "groups" (a number
      for each of `fields`), "latitude", "longitude" (degrees) or "attribute"
      (one for each of `attributes`, last); the last three as
      columns.value_text has them, read by labels.py, in the language LABELS;
      () for captions.
    values: text of each class in the source, for "name".
    classes: name of each class, in the order of the labels.
    templates: prompts, {c} in place of the class's name.
    captions: captions of class 0, then of class 1, and so on, as many of each,
      that stand for templates; () without any.
    objectives: of faces: {"race": (classes, templates), ...}, each like the
      two fields above, which are empty then.
    fields: names of the numbers that put an image into groups.
    attributes: names of the attributes by whose values figures are split.
    disparity_k: images at the top of a class's ranking, whose attributes are
      compared with the gallery's.
    ks: further k of top-k accuracy, beside 1 and 5.
    unseen: indices of the classes that training had no image of; () for a set
      whose classes are not told apart.
    items: path of the items of a selection, JSON lines; see disk/items.py.
    places: answers of a set of places; None for others.
    task: DataComp's facts about the set; None where it has none.
    origins: file, or package, that each of classes and templates is from.
    digests: hex digits of each text file, of its content.
    warnings: what a person should know about the files, a line each.
    is_by_head: whether the answers are those of the model's head, and no text
      is embedded.
    head: the head's kernel and bias of each class, float32 [A, E + 1]; None
      until the model is known (`suite_data.with_head`).
    training: function that opens the training split, of the same classes; None
      for a set that has none.
    video: views of videos, where the source holds them in place of images.
  """

  name: str
  kind: str
  source: Mapping[str, Any]
  texts: tuple[str, ...] = ()
  values: tuple[str, ...] = ()
  classes: tuple[str, ...] = ()
  templates: tuple[str, ...] = ()
  captions: tuple[str, ...] = ()
  objectives: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = (
    dataclasses.field(default_factory=dict)
  )
  fields: tuple[str, ...] = ()
  attributes: tuple[str, ...] = ()
  disparity_k: int = 10
  ks: tuple[int, ...] = ()
  unseen: tuple[int, ...] = ()
  items: str = ""
  places: "Places | None" = None
  task: datacomp.Task | None = None
  origins: Mapping[str, str] = dataclasses.field(default_factory=dict)
  digests: Mapping[str, str] = dataclasses.field(default_factory=dict)
  warnings: tuple[str, ...] = ()
  is_by_head: bool = False
  head: np.ndarray | None = None
  training: "Callable[[], FieldSet] | None" = None
  video: videos.VideoConfig = videos.VideoConfig()

  def prompts(self) -> list[str]:
    """List every template of class 0, then of class 1, and so on.

    A set of places has those of its countries, then those of its cities.
    """
    if self.places is not None:
      return [*self.places.country_prompts, *self.places.city_prompts]
    return [*self.captions] or prompts(self.classes, self.templates)

  @property
  def num_prompts(self) -> int:
    """Number of prompts of each class."""
    if self.captions:
      return len(self.captions) // len(self.classes)
    return len(self.templates)


@dataclasses.dataclass(frozen=True)
class Places:
  """Answers of a set of places: cities, and captions of them.

  Attributes:
    gazetteer: the cities.
    country_prompts: captions of country 0, then of country 1, and so on, as
      many of each.
    city_prompts: the same of the cities.
    num_cities: most populous cities of a country that the second step of the
      hierarchical answer chooses from.
  """

  gazetteer: gazetteer.Gazetteer
  country_prompts: tuple[str, ...]
  city_prompts: tuple[str, ...]
  num_cities: int

  def city_names(self) -> tuple[str, ...]:
    """Return each city with its country, as people write it."""
    cities = self.gazetteer
    return tuple(
      f"{name}, {cities.countries[country]}"
      for name, country in zip(cities.names, cities.country_C, strict=True)
    )


def prompts(classes: tuple[str, ...], templates: tuple[str, ...]) -> list[str]:
  """List every template of class 0, then of class 1, and so on.

  >>> prompts(("cat", "dog"), ("a {c}.", "two {c}s."))
  ['a cat.', 'two cats.', 'a dog.', 'two dogs.']
  """
  return [
    template.replace("{c}", name) for name in classes for template in templates
  ]


def source(format: str, path: str, **fields: Any) -> dict[str, Any]:
  """Return the section of an evaluation's source; `fields` are changed.

  Fields that only training reads have the values that evaluations ask for.
  """
  return {
    "format": format,
    "path": path,
    "split": "",
    "image": (),
    "image_root": "",
    "caption": (),
    "language": "en",
    "language_field": "",
    "encoding": "",
    "layout": "",
    "uid": "",
    "templates": (),
    "weight": 0.0,
    "repeat": 1,
    "subset": "",
    "keep": "",
  } | fields
