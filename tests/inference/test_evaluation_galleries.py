"""Page of sets by name: nothing breaks it, and it stays small."""

import numpy as np
import pytest

from evaluators import set_figures, set_gallery, set_tables
from inference import class_tables, evaluation_page
from tests.evaluators import set_examples
from tests.training.report import test_report

HOSTILE = test_report.HOSTILE
_MODEL = {
  "path": HOSTILE,
  "digest": "0" * 32,
  "dtype": "float32",
  "image_protocol": {"size": 16},
  "jax": "0",
  "platform": "cpu",
}


def _record(kind, folder, image_fn, count):
  opened, examples = set_examples.make(kind, folder)
  outcome = set_figures.evaluate(
    opened, examples, set_examples.embed, set_examples.mesh()
  )
  outcome.record["protocol"] |= {"data_digest": "0" * 32, "num_examples": 24}
  panels = set_gallery.panels(
    *(opened, examples, set_examples.embed),
    outcome=outcome,
    image_fn=image_fn,
    mesh=set_examples.mesh(),
    count=count,
  )
  details = outcome.record | outcome.details
  return outcome.record, details | {"audit": {"warnings": [HOSTILE]}}, panels


def _page(folder, image_fn, num_sets=0):
  count = set_gallery.counts(num_sets or len(set_examples.KINDS))
  made = {
    f"{kind} {HOSTILE}": _record(kind, folder, image_fn, count)
    for kind in set_examples.KINDS
  }
  names = [*made]
  made |= {f"more {i}": made[names[0]] for i in range(num_sets - len(made))}
  records, details, panels = (
    {name: parts[i] for name, parts in made.items()} for i in range(3)
  )
  results = {**records, "means": [], "model": _MODEL}
  return evaluation_page.render(HOSTILE, results, details, panels), results


@pytest.mark.parametrize("is_there", [True, False])
def test_each_kind_and_hostile_names(tmp_path, is_there):
  image = np.zeros((4, 4, 3), np.uint8)
  text, _ = _page(tmp_path, lambda row: image if is_there else None)
  parsed = test_report.Page(text)  # each tag is closed
  assert "<script" not in text
  assert parsed.text.count(HOSTILE) > 2 * len(set_examples.KINDS)
  for tag, attributes in parsed.tags:
    assert tag not in ("script", "iframe", "object", "form")
    for name in ("src", "href"):
      assert attributes.get(name, "#").startswith(("data:", "#"))
  assert ("no picture" in parsed.text) != is_there
  assert (parsed.count("img") > 50) == is_there
  assert "All 5 languages" in parsed.text
  assert "Confusion of 6 classes" in parsed.text
  assert "By region" in parsed.text


def test_forty_sets_of_noise_stay_small(tmp_path):
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (24, 224, 224, 3), dtype=np.uint8)
  text, _ = _page(tmp_path, noise.__getitem__, num_sets=40)
  assert text.count('id="set-') == 40
  assert len(text) < 3_000_000


def test_tables_of_long_names_and_many_languages(tmp_path):
  _, results = _page(tmp_path, lambda row: None)
  text, markdown = set_tables.text(results), set_tables.markdown(results)
  for name in results:
    if name not in ("means", "model"):
      assert f"\n{name}\n" in text  # a line of its own
  # A line of figures is no longer for the name of its set.
  figures = [line for line in text.splitlines() if line.startswith("  ")]
  assert max(map(len, figures)) < 90
  rows = [line for line in markdown.splitlines() if line.startswith("|")]
  assert {row.count("|") - row.count("\\|") for row in rows} == {7, 10}
  languages = [
    row.split("|")[1].strip() for row in rows if row.count("|") == 10
  ]
  assert languages == ["language", "---", "de", "en", "fr", "ja", "th"]
  assert "mean of 5 languages: text to image R@1" in text
  record = next(x for name, x in results.items() if "languages" in name)
  assert len(set_tables.line(record)) < 300


def test_files_of_classes_and_groups(tmp_path):
  count = set_gallery.Counts()
  _, details, _ = _record(
    "classification groups", tmp_path, lambda row: None, count
  )
  files = class_tables.csv_files(details)
  classes = files["classes"].decode().splitlines()
  assert classes[0] == "label,class,n,predicted,right,recall,precision,f1"
  assert [row.split(",")[1] for row in classes[1:]] == list("abcdef")
  groups = [row.split(",") for row in files["groups"].decode().splitlines()]
  assert groups[0] == ["field", "group", "n", "top_1", "low", "high"]
  assert [row[:3] for row in groups[1:]] == [["region", x, "8"] for x in "012"]
  assert class_tables.csv_files({}) == {}
