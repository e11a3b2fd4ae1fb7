"""Captions of pictures beside references, found by the names of files."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from evaluators.metrics.generation import captioning, chair, tokens
from evaluators.sets.disk import generated
from inference import pictures, python_model
from inference.captioning import scoring
from inference.classifying import sources

# Names that a message lists.
_NUM_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Judge:
  """References of the pictures of a source.

  Attributes:
    references: captions and domains by image.
    image_ids: image of each picture, by the picture's name.
    tokenizer: one of tokens.NAMES.
    source: the pictures.
    objects: annotated objects by image, for CHAIR; None without.
    synonyms: words that mean an object; None without.
  """

  references: generated.References
  image_ids: Mapping[str, str]
  tokenizer: str
  source: sources.Source
  objects: Mapping[str, set[str]] | None = None
  synonyms: chair.Synonyms | None = None

  def records(
    self,
    captions: Mapping[str, str],
    scorer: python_model.Model | None = None,
    scorer_path: str = "",
  ) -> dict[str, dict[str, Any]]:
    """Return records of captions by the picture's name, for results.json.

    A picture without a caption is judged as one with an empty caption, and is
    among `num_empty`.

    Args:
      captions: captions by the picture's name.
      scorer: model of CLIPScore; None without.
      scorer_path: scorer as it was named.

    Returns:
      "captions", and with `objects` "objects".
    """
    said = {
      image_id: captions.get(name, "")
      for name, image_id in self.image_ids.items()
    }
    truth = self.references
    made = captioning.record(
      said, truth.captions, truth.domains or None, tokenizer=self.tokenizer
    )
    if scorer is not None:
      scoring.add_clip_scores(
        *(made, scorer, self.source, captions, truth, self.image_ids),
        path=scorer_path,
      )
    records = {"captions": made}
    if self.objects is not None and self.synonyms is not None:
      records["objects"] = generated.judge_objects(
        said, truth, self.objects, self.synonyms
      )
    return records


def make(
  source: sources.Source,
  path: str,
  split: str,
  tokenizer: str,
  *,
  objects: str = "",
  synonyms: str = "",
) -> Judge:
  """Return the judge of a source's captions; reads no picture.

  Args:
    source: pictures that are files of their own, or named by a table.
    path: file of references, as generated.read_references takes it.
    split: split of Karpathy's file; "" for other files.
    tokenizer: one of tokens.NAMES.
    objects: file of COCO's instances, for CHAIR; "" for none.
    synonyms: file of the words that mean an object; "" for none.

  Raises:
    ValueError: the flags cannot be used, the file has another form, or pictures
      and references are not of the same images; names the flag.
    FileNotFoundError, ModuleNotFoundError: as tokens.check.
  """
  tokens.check(tokenizer)
  if not isinstance(source.found, pictures.Files | pictures.TableRows):
    raise ValueError(
      "--references needs --images that are files, or rows of a table that"
      " names them: references are found by the files' names"
    )
  try:
    references = generated.read_references(path, split)
  except ValueError as error:
    raise ValueError(f"--references: {error}") from error
  if len(references.captions) < 2:
    raise ValueError(
      f"--references={path} must be of at least 2 images, since CIDEr weighs"
      f" words by images; got {len(references.captions)}"
    )
  names = [source.found.name(index) for index in range(len(source))]
  image_ids = {name: _image_id(references, name) for name in names}
  strange = [name for name, image_id in image_ids.items() if not image_id]
  absent = references.captions.keys() - {*image_ids.values()}
  if strange or absent:
    raise ValueError(
      f"--references={path} must be of the pictures of --images; got"
      f" {len(strange)} pictures without references, as"
      f" {strange[:_NUM_NAMED]}, and references of {len(absent)} images without"
      f" a picture, as {sorted(absent)[:_NUM_NAMED]}"
    )
  counts = collections.Counter(image_ids[name] for name in names)
  if twice := [image_id for image_id, num in counts.items() if num > 1]:
    raise ValueError(
      "--references needs one picture of each image; got several of"
      f" {len(twice)} images, as {twice[:_NUM_NAMED]}"
    )
  judge = Judge(references, image_ids, tokenizer, source)
  if not objects:
    return judge
  try:
    return dataclasses.replace(
      judge,
      objects=generated.read_objects(objects),
      synonyms=generated.read_synonyms(synonyms),
    )
  except ValueError as error:
    raise ValueError(f"--objects, --synonyms: {error}") from error


def _image_id(references: generated.References, name: str) -> str:
  """Return the image of a picture's name, "" where there is none.

  That is the image whose file in the references has this name; else the one
  whose number or name is that of the file, with or without its end.
  """
  path = pathlib.PurePosixPath(name)
  if path.name in references.names:
    return references.names[path.name]
  found = [x for x in (path.name, path.stem) if x in references.captions]
  return found[0] if found else ""
