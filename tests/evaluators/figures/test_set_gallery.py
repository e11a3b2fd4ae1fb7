"""Examples that a gallery shows, beside all margins by hand."""

import numpy as np
import pytest

from evaluators.figures import gallery, outcomes, set_figures, set_gallery
from evaluators.sets import labels
from tests.evaluators import set_examples


def _panels(kind, folder, image_fn=None, count=set_gallery.Counts(4, 3, 4)):
  opened, examples = set_examples.make(kind, folder)
  outcome = set_figures.evaluate(
    opened, examples, set_examples.embed, set_examples.mesh()
  )
  panels = set_gallery.panels(
    *(opened, examples, set_examples.embed),
    outcome=outcome,
    image_fn=image_fn or (lambda row: np.full((4, 4, 3), row, np.uint8)),
    mesh=set_examples.mesh(),
    count=count,
  )
  return opened, examples, outcome, panels


def _row(entry):
  return int(entry.image_YXC[0, 0, 0])


def test_the_worst_have_the_lowest_margin(tmp_path):
  opened, examples, _, (even, worst) = _panels("classification", tmp_path)
  label = labels.of_examples(opened, examples.texts, examples.keys).label_N
  zclass = outcomes.class_embeddings(opened.prompts(), 6, set_examples.embed)
  score = examples.zimg_NE @ zclass.T
  own = score[np.arange(len(label)), label]
  others = np.where(np.eye(6, dtype=bool)[label], -np.inf, score)
  margin = own - others.max(axis=1)
  assert [_row(x) for x in worst.entries] == np.argsort(margin)[:4].tolist()
  for entry in (*even.entries, *worst.entries):
    row = _row(entry)
    assert entry.text == opened.classes[label[row]] == entry.right.text
    assert entry.rank == 1 + (score[row] > own[row]).sum()
    assert (entry.rank == 1) == (margin[row] > 0)
    best = np.argsort(-score[row])[:5]
    assert [x.text for x in entry.answers] == [opened.classes[a] for a in best]
    assert [x.score for x in entry.answers] == pytest.approx(
      score[row][best].tolist(), abs=1e-6
    )
    assert [x.is_right for x in entry.answers] == (best == label[row]).tolist()
  assert worst.entries[0].badge == f"margin {margin.min():+.3f}"
  ranks = [entry.rank for entry in even.entries]
  assert ranks == sorted(ranks)
  assert (even.num_queries, even.num_candidates) == (set_examples.NUM, 6)
  assert worst.worst == gallery.WORST_MARGIN


def test_a_group_is_named(tmp_path):
  *_, panels = _panels("classification groups", tmp_path)
  for entry in panels[0].entries:
    assert entry.note == f"region {_row(entry) % 3}"


def test_several_labels_an_image(tmp_path):
  opened, examples, _, (_, worst) = _panels("multilabel", tmp_path)
  targets = labels.of_examples(opened, examples.texts, examples.keys).targets_NA
  score = examples.zimg_NE @ set_examples.embed(opened.classes).T
  margin = {
    row: score[row][targets[row]].min() - score[row][~targets[row]].max()
    for row in range(set_examples.NUM)
    if 0 < targets[row].sum() < 6
  }
  assert len(margin) < set_examples.NUM  # all and none are no question
  assert [_row(x) for x in worst.entries] == sorted(margin, key=margin.get)[:4]
  entry = worst.entries[0]
  names = [opened.classes[a] for a in np.flatnonzero(targets[_row(entry)])]
  assert entry.text == ", ".join(names)
  assert worst.num_queries == len(margin)


def test_faces_by_question_with_their_groups(tmp_path):
  opened, examples, _, panels = _panels("faces", tmp_path)
  titles = [panel.title for panel in panels]
  kinds = ("picture to class", "worst, picture to class")
  questions = ("race", "gender", "age")  # toxic has no right answer
  assert titles == [f"{x}, {q}" for q in questions for x in kinds]
  groups = labels.of_examples(opened, examples.texts, examples.keys).groups_NG
  for panel in panels:
    classes, _ = opened.objectives[panel.part]
    zclass = set_examples.embed(classes)
    assert panel.num_candidates == len(classes)
    for entry in panel.entries:
      row = _row(entry)
      age, gender, race, _ = groups[row]
      assert entry.note.startswith(
        f"age age {age}, gender gender {gender}, race race {race}"
      )
      right = groups[row][opened.fields.index(panel.part)]
      assert entry.text == classes[right]
      is_hit = (zclass @ examples.zimg_NE[row]).argmax() == right
      assert (entry.rank == 1) == is_hit


@pytest.mark.parametrize("form", ["2x2", "texts", "images"])
def test_items(tmp_path, form):
  opened, examples, outcome, (even, worst) = _panels(
    f"selection {form}", tmp_path
  )
  drawn = {"2x2": "grid", "texts": "texts", "images": "images"}
  assert {even.form, worst.form} == {drawn[form]}
  assert even.order == "margin"
  if form != "images":  # all are right only where the best are those
    figure = "group" if form == "2x2" else "accuracy"
    right = outcome.items[figure].value_Q
    *_, (every, _) = _panels(
      f"selection {form}", tmp_path, count=set_gallery.Counts(8, 3, 4)
    )
    badges = [entry.badge for entry in every.entries]
    assert badges.count("right") == right.sum()
    assert badges == sorted(badges)  # the best first
  entry = worst.entries[0]
  if form == "2x2":
    assert entry.grid.right == (0, 1)
    rows = [int(image[0, 0, 0]) for image in entry.grid.images]
    score = examples.zimg_NE[rows] @ set_examples.embed(entry.grid.texts).T
    np.testing.assert_allclose(entry.grid.scores, score.T, atol=1e-6)
  elif form == "texts":
    assert [x.image_YXC for x in entry.answers] == [None, None]
    assert sum(x.is_right for x in entry.answers) == 1
  else:
    assert len(entry.answers) == 10
    assert sum(x.is_right for x in entry.answers) == 2
    assert entry.image_YXC is None


@pytest.mark.parametrize("form", ["", " languages"])
def test_captions(tmp_path, form):
  *_, outcome, panels = _panels(f"retrieval{form}", tmp_path)
  languages = list(dict.fromkeys(panel.part for panel in panels))
  assert languages[0] == ("en" if form else "")
  if form:  # the language of the lowest figure is beside it
    trees = outcome.record["languages"]
    figure = {x: trees[x]["text_to_image"]["R@1"] for x in trees if x != "en"}
    assert figure[languages[1]] == min(figure.values())
  assert len(panels) == 4 * len(languages)
  for panel in panels[:4]:
    prefix = "en/" if form else ""
    ranks = 1 / outcome.items[f"{prefix}{panel.direction}/MRR"].value_Q
    if panel.worst:
      assert panel.entries[0].rank == pytest.approx(ranks.max())
    assert len(panel.entries) == 3
    assert all(len(entry.answers) == 4 for entry in panel.entries)


@pytest.mark.parametrize("kind", set_examples.KINDS)
def test_images_that_cannot_be_read_again(tmp_path, kind):
  *_, panels = _panels(kind, tmp_path, lambda row: None)
  assert panels


def test_counts_become_fewer():
  assert set_gallery.counts(1).labelled == 10
  for few, many in ((1, 20), (20, 40)):
    assert set_gallery.counts(few).labelled > set_gallery.counts(many).labelled


def test_a_page_of_many_sets_shows_fewer_queries():
  assert set_gallery.counts(40).queries == 1 < set_gallery.counts(2).queries
