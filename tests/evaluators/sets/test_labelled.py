"""Fields of a labelled set: further k, and unseen classes."""

import pytest

from configs.parts import sources
from evaluators import labelled
from evaluators.sets import kinds
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
