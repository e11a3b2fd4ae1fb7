"""The step that identifies languages, with real identifiers."""

import pyarrow as pa
import pytest

from curation import operators
from curation.rules import language

TEXTS = {
  "en": "a photograph of a beautiful old house by the sea",
  "de": "ein Foto von einem schönen alten Haus am Meer",
  "ja": "海のそばの美しい古い家の写真",
  "fr": "une photographie d'une belle maison ancienne au bord de la mer",
}


def make(**fields):
  return language.Language(
    **{
      "identifier": "fasttext",
      "model": "",
      "signal": "language",
      "keep": (),
      "min_score": 0.0,
      **fields,
    }
  )


def decide(step, texts, tmp_path):
  table = pa.table({"text": pa.array(texts, pa.string())})
  return step.open(operators.StepContext(tmp_path, tmp_path))(table)


def test_kept_languages_may_be_spelled_in_any_way(tmp_path):
  verdict = decide(make(keep=("EN_us", "jpn")), TEXTS.values(), tmp_path)
  assert verdict.keep.tolist() == [True, False, True, False]


@pytest.mark.parametrize("identifier", language.IDENTIFIERS)
def test_identifies_and_keeps(identifier, tmp_path):
  texts = [*TEXTS.values(), "a\nphotograph of a house", None, ""]
  step = make(identifier=identifier, keep=("en", "ja"), min_score=0.3)
  verdict = decide(step, texts, tmp_path)
  assert step.signals == ("language", "language_score")
  found = verdict.signals["language"].to_pylist()
  assert found[:5] == [*TEXTS, "en"]
  assert found[5] == "und"
  scores = verdict.signals["language_score"]
  assert (scores[:4] > 0.5).all()
  assert (scores <= 1).all()
  assert verdict.keep.tolist() == [
    *(True, False, True, False, True),
    *[False] * 2,
  ]


def test_keeps_all_and_names_the_signal(tmp_path):
  verdict = decide(make(signal="lid"), [*TEXTS.values(), None], tmp_path)
  assert verdict.keep.all()
  assert set(verdict.signals) == {"lid", "lid_score"}


def test_reads_a_user_s_model(tmp_path):
  carried = language.carried_model()
  step = make(model=carried)
  assert step.files() == (carried,)
  verdict = decide(step, [TEXTS["de"]], tmp_path)
  assert verdict.signals["language"].to_pylist() == ["de"]


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"identifier": "x"}, "s.identifier must be one of fasttext, cld3"),
    ({"identifier": "cld3", "model": "m"}, "s.model must be '' unless"),
    ({"signal": ""}, "s.signal must be a name"),
    ({"min_score": 2.0}, r"s.min_score must be between 0 and 1"),
  ],
)
def test_refuses_what_cannot_be(fields, message):
  with pytest.raises(ValueError, match=message):
    make(**fields).check("s")


def test_a_file_that_is_no_model_is_named(tmp_path):
  path = tmp_path / "lid.176.bin"
  path.write_bytes(b"no model")
  with pytest.raises(ValueError, match="s.model"):
    make(model=str(path)).check("s")
