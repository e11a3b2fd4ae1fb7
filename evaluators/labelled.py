"""Labelled set of one's own data: section of `evaluate.sets`."""

import dataclasses
import functools
import itertools
import typing
from collections.abc import Sequence
from typing import Any

from evaluators.sets import field_set, own, videos
from input_pipeline import evaluation_split
from input_pipeline.grammars import filled
from input_pipeline.sources import source_config
from runtime import checks


@dataclasses.dataclass(frozen=True)
class LabelledConfig:
  """Section of an evaluation set whose images have labels.

  Attributes:
    kind: selects this section's dataclass.
    source: images; its `caption` is (), as the label takes its place. With a
      grammar, prompts are all texts that it makes of the label alone.
    label: place of the label: a column, ".cls" or "json.FIELD" of tars, or
      "folder", the name of the folder that an image is in.
    classes: text file with the name of a class a line; "" for the names that
      the labels are.
    templates: text file with a prompt a line, {c} for the class; "" for one.
    prompts: prompts in place of the file `templates`, {c} for the class.
    attributes: places of attributes by whose values figures are split, such as
      ("gender", "age"): columns, or "json.FIELD" and extensions of tars.
    disparity_k: images at the top of a class's ranking, whose attributes are
      compared with those of all images.
    training: examples that measures such as linear_probe learn from: a path of
      the source's format, or "@NAME" for another split of its path; "" for
      none, or, beside folders "val" or "test" by class, the folder "train".
    ks: further k of top-k accuracy, beside 1 and 5: (3, 10).
    unseen: text file with the name of a class a line, those that training had
      no image of; accuracy on them and on the others is then told apart, and
      their harmonic mean taken. "" for none.
    head: whether the answers are those of the run's linear head (model.head),
      which has the same classes, in place of prompts.
    video: views of videos, for a source of videos in place of images.
  """

  kind: typing.Literal["classification"]
  source: source_config.SourceConfig
  label: str
  classes: str = ""
  templates: str = ""
  prompts: tuple[str, ...] = ()
  attributes: tuple[str, ...] = ()
  disparity_k: int = 10
  training: str = ""
  ks: tuple[int, ...] = ()
  unseen: str = ""
  head: bool = False
  video: videos.VideoConfig = videos.VideoConfig()

  def check(self, field: str) -> None:
    """Raise ValueError, naming the field, where a value cannot be used."""
    evaluation_split.check_source(self.source, f"{field}.source")
    self.video.check(f"{field}.video")
    if self.video.is_on and self.head:
      checks.refuse(
        f"{field}.head must be False for videos ({field}.video.clips); got True"
      )
    if not self.label:
      checks.refuse(
        f'{field}.label must be a column, ".cls", "json.FIELD" or "folder"; '
        "got ''"
      )
    if self.source.caption:
      checks.refuse(
        f"{field}.source.caption must be (), as the label is read in its place;"
        f" got {self.source.caption!r}"
      )

    filled.check(self.source, f"{field}.source")
    texts = self.prompts or self.templates or self.source.grammar
    if self.head and texts:
      checks.refuse(
        f"{field}.head must be False beside prompts, templates or a grammar;"
        f" got True with {texts!r}"
      )
    if self.source.grammar:
      self._check_grammar(field)
    if self.prompts and self.templates:
      checks.refuse(
        f"{field}.prompts must be () beside {field}.templates; got "
        f"{self.prompts!r} and {self.templates!r}"
      )
    for prompt in self.prompts:
      if prompt.count("{c}") != 1:
        checks.refuse(
          f"{field}.prompts must each have one {{c}}; got {prompt!r}"
        )
    for attribute in self.attributes:
      if not attribute or attribute == own.FOLDER:
        checks.refuse(
          f'{field}.attributes must be columns, "json.FIELD" or extensions; got'
          f" {attribute!r}"
        )
      if [self.label, *self.attributes].count(attribute) > 1:
        checks.refuse(
          f"{field}.attributes must differ from each other and from label,"
          f" whose figures are those by class; got {attribute!r} twice"
        )
    checks.at_least(f"{field}.disparity_k", self.disparity_k, 1)
    for k in self.ks:
      checks.at_least(f"{field}.ks", k, 1)

  def open(self, name: str, cache_dir: str) -> field_set.FieldSet:
    """Return the set, its labels read; ValueError where one cannot be used."""
    opened = own.labelled(
      name,
      self._images,
      self.label,
      cache_dir=cache_dir,
      classes=self.classes,
      templates=self.templates,
      prompts=self.prompts,
      attributes=self.attributes,
    )
    if self.training:
      opened = dataclasses.replace(
        opened,
        training=functools.cache(
          functools.partial(self._training, name, cache_dir)
        ),
      )
    field = f"evaluate.sets.{name}"
    if self.source.grammar:
      opened = dataclasses.replace(
        opened,
        templates=(),
        captions=self._captions(opened.values or opened.classes, field),
        origins={**opened.origins, "templates": f"{field}.source.grammar"},
      )
    if self.head:
      opened = dataclasses.replace(opened, templates=(), is_by_head=True)
    num_classes = len(opened.classes)
    if max(self.ks, default=0) > num_classes:
      raise ValueError(
        f"{field}.ks must be at most {num_classes}, the number of classes; got "
        f"{self.ks}"
      )
    return dataclasses.replace(
      opened,
      disparity_k=self.disparity_k,
      ks=self.ks,
      unseen=_indices(self.unseen, opened.classes, f"{field}.unseen"),
      video=self.video,
    )

  @property
  def _images(self) -> dict[str, Any]:
    """The source as plain data, without the grammar of its captions."""
    none = {"grammar": (), "grammar_fields": (), "grammar_articles": ()}
    is_video = {"is_video": self.video.is_on}
    return dataclasses.asdict(self.source) | none | is_video

  def _captions(self, names: Sequence[str], field: str) -> tuple[str, ...]:
    """Return the texts of each class, in order; as many of each."""
    texts = filled.make(self.source)
    assert texts is not None  # there is a grammar
    pairs = self.source.grammar_fields
    slots = [slot for slot, location in pairs if location == self.label]
    made = [texts.every(dict.fromkeys(slots, name)) for name in names]
    for name, one in zip(names, made, strict=True):
      if len(one) != len(made[0]):
        raise ValueError(
          f"{field}.source.grammar must make as many texts of each class; got "
          f"{len(made[0])} of {names[0]!r} and {len(one)} of {name!r}"
        )
    return tuple(itertools.chain(*made))

  def _check_grammar(self, field: str) -> None:
    """Raise ValueError where prompts cannot be made by the grammar."""
    for name in ("prompts", "templates"):
      if value := getattr(self, name):
        checks.refuse(
          f"{field}.{name} cannot stand beside {field}.source.grammar, which "
          f"makes the prompts; got {value!r}"
        )
    try:
      made = self._captions([self.label], field)
    except ValueError as error:
      checks.refuse(f"{field}.source.grammar: {error}")
      return
    if not made:
      checks.refuse(
        f"{field}.source.grammar must have a text of the label alone: one with "
        f"a slot of {field}.source.grammar_fields whose column is "
        f"{self.label!r}, and no other that is not optional; got "
        f"{self.source.grammar!r} with {self.source.grammar_fields!r}"
      )

  def _training(self, name: str, cache_dir: str) -> field_set.FieldSet:
    """Return the set of the training examples."""
    other = {"path": self.training}
    if self.training.startswith("@"):
      other = {"split": self.training[1:]}
    try:
      return own.labelled(
        name,
        self._images | other,
        self.label,
        cache_dir=cache_dir,
        classes=self.classes,
        templates=self.templates,
        prompts=self.prompts,
      )
    except (ValueError, OSError) as error:
      raise ValueError(
        f"evaluate.sets.{name}.training={self.training} cannot be used as its "
        f"source is: {error}"
      ) from error


def _indices(
  path: str, classes: tuple[str, ...], field: str
) -> tuple[int, ...]:
  """Return the indices of the classes that a text file names."""
  if not path:
    return ()
  lines = [line.replace("_", " ") for line in own.lines_of(path, field)]
  index = {name.replace("_", " "): i for i, name in enumerate(classes)}
  if unknown := [line for line in lines if line not in index]:
    raise ValueError(
      f"{field}={path} must name classes of the set, such as {classes[0]!r}; "
      f"{unknown[0]!r} is none ({len(unknown)} of {len(lines)} lines are none)"
    )
  found = tuple(sorted({index[line] for line in lines}))
  if not 0 < len(found) < len(classes):
    raise ValueError(
      f"{field}={path} must name some of the {len(classes)} classes, and leave "
      f"some; got {len(found)}"
    )
  return found
