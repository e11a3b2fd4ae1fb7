"""Sections of evaluation sets with every field, by kind of evaluation."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from evaluators.sets import videos as videos_lib

# Figures of a retrieval set that names none.
RETRIEVAL_METRICS = ("R@1", "R@5", "R@10", "median_rank")
# Captions of a set of places that names none: grammars of
# input_pipeline/grammars.
COUNTRY_CAPTIONS = ("A photo in {country:the}.",)
CITY_CAPTIONS = ("A photo in {city}, {country}.",)
# Cities of a country that StreetCLIP's second step chooses from.
NUM_CITIES = 30


def retrieval(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a retrieval set; `fields` are changed.

  Fields: evaluators.retrieval.RetrievalConfig.
  """
  return {
    "kind": "retrieval",
    "source": dict(source),
    "all_names": False,
    "metrics": RETRIEVAL_METRICS,
    "reweight": "",
  } | fields


def videos(**fields: Any) -> dict[str, Any]:
  """Return a section `video`: 4 clips, 3 crops, frame by frame; some changed.

  A set of captions or of classes takes it: retrieval(source, video=videos()).
  Fields: evaluators.sets.videos.VideoConfig.
  """
  section = dataclasses.asdict(videos_lib.VideoConfig(clips=4, crops=3))
  return section | fields


def classification(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a labelled set; `fields` are changed.

  The label has no default. Fields: evaluators.labelled.LabelledConfig.
  """
  return {
    "kind": "classification",
    "source": dict(source),
    "classes": "",
    "templates": "",
    "prompts": (),
    "attributes": (),
    "disparity_k": 10,
    "training": "",
    "ks": (),
    "unseen": "",
    "head": False,
  } | fields


def places(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a set of places; `fields` are changed.

  The gazetteer has no default. Fields: evaluators.sets.places.PlacesConfig.
  """
  return {
    "kind": "places",
    "source": dict(source),
    "latitude": "latitude",
    "longitude": "longitude",
    "country_captions": COUNTRY_CAPTIONS,
    "city_captions": CITY_CAPTIONS,
    "articles": (),
    "num_cities": NUM_CITIES,
  } | fields


def referring(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a set of expressions; `fields` are changed.

  Fields: evaluators.sets.expressions.ReferringConfig.
  """
  return {"kind": "referring", "source": dict(source), "splits": ()} | fields


def answering(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a set of questions; `fields` are changed.

  Fields: evaluators.sets.asked_questions.AnsweringConfig.
  """
  return {
    "kind": "answering",
    "source": dict(source),
    "judge": "answers",
  } | fields


def selection(items: str) -> dict[str, Any]:
  """Return the section of a set of items, of a file of JSON lines.

  Fields: evaluators.sets.choices.ChoicesConfig.
  """
  return {"kind": "selection", "items": items}


def zero_shot(source: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
  """Return the section of a zero-shot set; `fields` are changed.

  The classes, their templates and the label rule have no default. Fields:
  evaluators.zero_shot.ZeroShotConfig.
  """
  return {
    "kind": "zero_shot",
    "source": dict(source),
    "language": "en",
    "metrics": ("top_1", "mean_per_class", "top_5"),
  } | fields
