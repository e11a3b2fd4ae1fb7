"""Fields of a labelled set: further k, unseen classes, a grammar's prompts."""

import json

import pytest

from configs.parts import sources
from evaluators import labelled, protocols
from evaluators.sets import kinds
from input_pipeline.grammars import filled
from runtime import checks, sections
from tests.evaluators.sets import made


def _config(tmp_path, **fields):
  names = [f"data/{x}/1.png" for x in ("ant", "sea_bee", "cow", "dog")]
  made.images(tmp_path, *names)
  if "\n" in fields.get("unseen", ""):
    (tmp_path / "unseen.txt").write_text(fields["unseen"])
    fields["unseen"] = str(tmp_path / "unseen.txt")
  source = sources.source(format="folder", path=str(tmp_path / "data"))
  values = kinds.classification(source.to_dict(), label="folder", **fields)
  return sections.make(labelled.LabelledConfig, values, see="")


def test_further_k_and_unseen_classes(tmp_path):
  config = _config(tmp_path, ks=(3, 4), unseen="cow\nsea bee\n")
  config.check("x")
  opened = config.open("beasts", str(tmp_path / "cache"))
  assert (opened.ks, opened.unseen) == ((3, 4), (1, 3))
  # Folders have their own names, too; older configs have neither field.
  other = _config(tmp_path, unseen="sea_bee\n").open("x", str(tmp_path / "c"))
  assert (other.ks, other.unseen) == ((), (3,))
  assert _config(tmp_path).open("x", str(tmp_path / "c")).unseen == ()


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"ks": (5,)}, "beasts.ks must be at most 4, the number of classes"),
    ({"unseen": "none.txt"}, "beasts.unseen must be a text file; there is no"),
    ({"unseen": "ant\nowl\n"}, "must name classes of the set.*'owl' is none"),
    ({"unseen": "ant\nsea bee\ncow\ndog\n"}, "some of the 4 classes, and le"),
  ],
)
def test_fields_that_cannot_be_used(tmp_path, fields, message):
  config = _config(tmp_path, **fields)
  config.check("x")
  with pytest.raises(ValueError, match=message):
    config.open("beasts", str(tmp_path / "cache"))


def test_prompts_that_are_a_text_are_one_problem(tmp_path):
  def made_and_checked():
    with checks.collected():
      _config(tmp_path, prompts="a photo of {c}, an insect.").check("x")

  with pytest.raises(ValueError, match=r"^prompts must be a tuple; .*',\)$"):
    made_and_checked()


def test_k_is_at_least_1(tmp_path):
  with pytest.raises(ValueError, match="x.ks must be at least 1; got 0"):
    _config(tmp_path, ks=(0,)).check("x")


_GRAMMAR = {
  "grammar": (
    ("place", "A (photo|map) [of {town} ]in {country:the}[ at {time}]?0.5."),
    ("season", "{season} in {country}"),
    ("bare", "[{country}]?0.5 outside"),
  ),
  "grammar_fields": tuple(
    (x, x) for x in ("town", "country", "time", "season")
  ),
  "grammar_articles": ("Netherlands",),
}


def _by_grammar(tmp_path, **fields):
  made.images(tmp_path, "0.png", "1.png")
  rows = [
    {"image": f"{i}.png", "country": x, "town": "Ede", "season": "spring"}
    for i, x in enumerate(("Netherlands", "Chad"))
  ]
  table = tmp_path / "rows.jsonl"
  table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
  source = sources.source(
    format="table", path=str(table), **{**_GRAMMAR, **fields.pop("source", {})}
  )
  values = kinds.classification(source.to_dict(), label="country", **fields)
  return sections.make(labelled.LabelledConfig, values, see="")


def test_prompts_are_the_captions_of_the_label_alone(tmp_path):
  config = _by_grammar(tmp_path, training=str(tmp_path / "rows.jsonl"))
  config.check("x")
  opened = config.open("places", str(tmp_path / "cache"))
  assert opened.classes == ("Chad", "Netherlands")
  assert opened.prompts() == [
    *("A photo in Chad.", "A map in Chad.", "Chad outside"),
    *("A photo in the Netherlands.", "A map in the Netherlands."),
    "Netherlands outside",
  ]
  assert opened.num_prompts == 3
  assert opened.origins["templates"] == "evaluate.sets.places.source.grammar"
  assert opened.training().classes == opened.classes
  canonical = protocols.of_set(protocols.BIG_VISION, opened)
  assert canonical.prompts()[3] == "a photo in the netherlands"
  # Training draws the same texts of an example without other fields.
  texts = filled.make(config.source)
  drawn = {
    texts.draw({"country": "Chad"}, [first, second, *[0] * 8])[1]
    for first in range(3)
    for second in range(2)
  }
  assert drawn == {*opened.prompts()[:3]}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"prompts": ("a {c}",)}, r"x.prompts cannot stand beside x.source.gramm"),
    (
      {
        "source": {
          "grammar": (("a", "in {town} of {country}, {time}{season}"),)
        }
      },
      r"must have a text of the label alone.*'country'.*in {town} of",
    ),
    (
      {"source": {"grammar": (("a", "{country} at {hour}"),)}},
      r"x.source.grammar has slots that .*hour",
    ),
  ],
)
def test_a_grammar_that_makes_no_prompts(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    _by_grammar(tmp_path, **fields).check("x")


def test_as_many_texts_of_each_class(tmp_path):
  grammar = (("a", "({country}|{country:capital})[{town}{time}{season}]"),)
  config = _by_grammar(tmp_path, source={"grammar": grammar})
  config.check("x")
  rows = (tmp_path / "rows.jsonl").read_text()
  (tmp_path / "rows.jsonl").write_text(rows.replace("Chad", "chad"))
  with pytest.raises(ValueError, match="1 of 'Netherlands' and 2 of 'chad'"):
    config.open("places", str(tmp_path / "cache"))
