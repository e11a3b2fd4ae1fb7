import html.parser
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from evaluators import gallery
from input_pipeline import model_inputs
from input_pipeline.images import image_protocols
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import rules
from input_pipeline.tokenizers import tokenizer as tokenizer_lib
from tests.evaluators import meshes
from training.report import report, report_charts

HOSTILE = '<script>alert("1")</script>&"\'><img src=http://example.com/x>'

SCORES = {"R@1": 0.5, "R@5": 0.75, "R@10": 1.0, "median_rank": 1.5}
RESULTS = {
  "compositional": {
    "num_candidates": 12,
    "image_to_text": SCORES,
    "text_to_image": SCORES,
    "all_names": {"num_candidates": 3953, **SCORES},
  },
  "zero_shot": {"skin_tone": {"not_run": HOSTILE}},
}


def make_panels(num=12, hostile=True):
  rng = np.random.default_rng(0)
  zimg = meshes.unit(rng.normal(size=(num, 4)))
  ztxt = meshes.unit(zimg + 0.5 * rng.normal(size=(num, 4)))
  images = rng.integers(0, 255, (num, 16, 16, 3), dtype=np.uint8)
  return gallery.make_panels(
    "compositional",
    keys=[str(i) for i in range(num)],
    texts=[f"name {i} {HOSTILE if hostile else ''}" for i in range(num)],
    owners=range(num),
    image_fn=images.__getitem__,
    zimg_NE=zimg,
    ztxt_ME=ztxt,
    mesh=meshes.make_mesh(),
  )


def write_metrics(path, num_steps, num_evaluations=0):
  lines = [
    {"step": i, "train/loss": 20 / (i + 1), "train/learning_rate": 1e-3}
    for i in range(num_steps)
  ]
  lines += [
    {"step": i, "compositional/image_to_text/R@1": i / 10}
    for i in range(num_evaluations)
  ]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write(tmp_path, title="quickstart", facts=None, results=None, panels=()):
  path = report.write(
    tmp_path,
    title=title,
    facts=facts or {},
    results=results or {},
    panels=panels,
  )
  assert path == tmp_path / "report.html"
  page = path.read_text(encoding="utf-8")
  return page, Page(page)


class Page(html.parser.HTMLParser):
  """Tags, their attributes, and all text outside of style."""

  VOID = frozenset(("meta", "link", "img", "br"))

  def __init__(self, page):
    super().__init__()
    self.tags, self.open, self.text = [], [], ""
    self.feed(page)
    assert not self.open, f"not closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open[-1:] != ["style"]:
      self.text += data

  def count(self, tag):
    return sum(t == tag for t, _ in self.tags)


def full_page(tmp_path):
  write_metrics(tmp_path / "metrics.jsonl", 300, 3)
  facts = {"steps": 300, HOSTILE: HOSTILE}
  return write(
    tmp_path, title=HOSTILE, facts=facts, results=RESULTS, panels=make_panels()
  )


def test_the_page_loads_nothing(tmp_path):
  page, parsed = full_page(tmp_path)
  for tag, attributes in parsed.tags:
    assert tag not in ("script", "iframe", "object", "embed", "base", "form")
    for name, value in attributes.items():
      assert not name.startswith("on")
      if name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
        assert value.startswith(("data:", "#")), (tag, name, value)
  # CSS, in the style element and in attributes.
  assert "@import" not in page
  assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)", page))


def test_hostile_text_is_shown_as_text(tmp_path):
  page, parsed = full_page(tmp_path)
  assert "<script" not in page
  # Title twice, a fact, the reason of a task, and names.
  assert parsed.text.count(HOSTILE) > 10
  images = [attributes for tag, attributes in parsed.tags if tag == "img"]
  assert any(HOSTILE in image["alt"] for image in images)


def test_charts_have_the_colours_of_the_page(tmp_path):
  page, parsed = full_page(tmp_path)
  charts = re.findall(r"<svg[^>]* viewBox.*?</svg>", page, re.DOTALL)[1:]
  assert len(charts) == 2  # loss, recall
  for chart in charts:
    ET.fromstring(chart.replace("xlink:", ""))
    assert "var(--faint)" in chart
    assert "var(--series-1)" in chart
    # No colour of matplotlib's own, which one of the two modes would hide.
    assert not re.findall(r"(?:fill|stroke): ?#(?!$)\w+", chart)
  ids = [a["id"] for _, a in parsed.tags if "id" in a]
  clips = [i for i in ids if not i.startswith(("figure", "axes", "matplotlib"))]
  referenced = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", page))
  assert referenced <= set(ids)
  assert all(clips.count(i) == 1 for i in referenced)


def test_gallery_marks_the_right_answers(tmp_path):
  panels = make_panels(hostile=False)
  page, parsed = write(tmp_path, results={}, panels=panels)
  entries = [entry for panel in panels for entry in panel.entries]
  assert len(entries) == 20
  # Once among the answers, or once behind them.
  assert parsed.text.count("✓") == len(entries)
  missed = sum(not entry.is_found for entry in entries)
  assert missed > 0, "no failure in the data"
  gaps = [a.get("class") for _, a in parsed.tags]
  assert gaps.count("missed") + gaps.count("right gap") == missed
  to_image, to_text = (panel.entries for panel in panels)
  pictures = sum(5 + (not e.is_found) for e in to_image) + len(to_text)
  assert parsed.count("img") == pictures
  assert gallery.RULE in parsed.text


def test_results_and_chance_are_shown(tmp_path):
  _, parsed = write(tmp_path, results=RESULTS)
  assert parsed.text.count("chance 0.0003") == 2  # tile and table
  assert "chance 6.5" in parsed.text
  assert f"not run: {HOSTILE}" in parsed.text


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
def test_short_runs(tmp_path, num_steps):
  write_metrics(tmp_path / "metrics.jsonl", num_steps, num_steps)
  page, parsed = write(tmp_path)
  # The loss from one step on, recall over steps from two evaluations on.
  assert parsed.count("svg") == 1 + (num_steps > 0) + (num_steps > 1)


def test_a_run_without_anything(tmp_path):
  _, parsed = write(tmp_path)
  assert "quickstart" in parsed.text
  assert "Results" not in parsed.text


def test_pages_of_the_same_run_are_the_same(tmp_path):
  first, _ = full_page(tmp_path)
  assert full_page(tmp_path)[0] == first


def test_metrics_of_a_killed_and_resumed_run(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text(
    '{"step": 2, "train/loss": 3.0}\n'
    '{"step": 1, "train/loss": 4.0, "note": "text"}\n'
    "\n[]\n3\n"
    '{"step": 2, "train/loss": 2.0}\n'
    '{"step": 2, "compositional/image_to_text/R@1": 0.5}\n'
    '{"step": 3, "train/loss": NaN}\n'
    '{"step": 4, "train/lo'
  )
  assert report_charts.read_metrics(path) == {
    1: {"train/loss": 4.0},
    2: {"train/loss": 2.0, "compositional/image_to_text/R@1": 0.5},
    3: {},
  }
  assert report_charts.read_metrics(tmp_path / "missing") == {}


def test_smooth():
  values = np.array([1.0, 5.0, 3.0, 7.0, 2.0])
  got = report_charts.smooth(values, 1)
  # Differences of running sums.
  np.testing.assert_allclose(got, [1, 3, 5, 4, 2], rtol=1e-12)
  line = np.arange(50.0)
  np.testing.assert_allclose(report_charts.smooth(line, 7), line, atol=1e-12)


def test_the_inputs_of_the_results_are_named(tmp_path):
  made = model_inputs.ModelInputs(
    image_protocols.PROTOCOLS["clip"],
    tokenizer_lib.Tokenizer(bytes_lib.Bytes(), rules.run(16)),
  )
  inputs = json.loads(json.dumps(made.facts()))
  _, page = write(tmp_path, results=RESULTS | {"inputs": inputs})
  assert "image protocolshorter side to 224 (bicubic), centre" in page.text
  assert "mean (0.4815, 0.4578, 0.4082)" in page.text
  assert "tokenizer258 entries, texts of 16 tokens, cleaning none" in page.text
  assert inputs["tokenizer"]["digest"] in page.text
  _, without = write(tmp_path, results=RESULTS)
  assert "image protocol" not in without.text
