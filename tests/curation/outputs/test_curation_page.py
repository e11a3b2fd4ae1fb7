"""curation.html: content of the manifest and the signals."""

import io
import re

import numpy as np
from PIL import Image

from curation.outputs import curation_page, samples


def make_manifest():
  ranks = np.unique(np.geomspace(1, 5000, 60).astype(int))
  before = 400_000 / ranks
  curves = {
    "ranks": ranks.tolist(),
    "before": before.tolist(),
    "after": np.minimum(before, 900).tolist(),
    "t": 700.0,
  }
  edges = np.linspace(-0.1, 0.5, 65)
  counts = 9000 * np.exp(-((edges[:-1] - 0.2) ** 2) / 0.01)
  histogram = {
    "edges": edges.tolist(),
    "counts": counts.astype(int).tolist(),
    "cut": 0.28,
  }
  languages = {
    "en": {"pairs": 70_000, "t": 700, "kept": 20_100},
    "ja": {"pairs": 9_000, "t": 31, "kept": 4_000},
    "other": {"pairs": 1_000, "kept": 0},
  }
  return {
    "num_pairs": 100_000,
    "num_kept": 12_345,
    "num_uids": 12_000,
    "steps": [
      step("image_size", "image_size", 100_000, 80_000, {}),
      step("balance", "metaclip_balance", 80_000, 24_100, {"curves": curves}),
      step("clip", "top_fraction", 24_100, 12_345, {"histogram": histogram}),
    ],
    "languages": languages,
  }


def step(name, op, entered, kept, facts):
  made = {"name": name, "op": op, "in": entered, "kept": kept, "facts": facts}
  return made | {"faults": {"score_broken": 1234} if name == "clip" else {}}


def png(color):
  buffer = io.BytesIO()
  Image.new("RGB", (300, 200), color).save(buffer, "PNG")
  return buffer.getvalue()


def make_samples():
  drawn, shown = {}, {}
  for number, name in enumerate(("image_size", "balance", "clip")):
    sides = ([], [])
    for side in (0, 1):
      for i in range(samples.NUM_SHOWN):
        sample = samples.Sample(i, f"{number}{side}{i:030x}", "shard", i)
        sides[side].append(sample)
        shown[sample] = {
          "text": f"a caption, number {i} <script>alert(1)</script>"
          + "x" * 300,
          "image": png((200, 30 * i, 90 * side)) if i else b"broken",
          "width": 640,
          "height": 480,
          "language": "en",
          "signals": {"cosine": 0.2345678, "phash": 2**63},
        }
    drawn[name] = sides
  return drawn, shown


def render():
  manifest = make_manifest()
  manifest["steps"][1]["facts"]["languages"] = manifest.pop("languages")
  return curation_page.render(manifest, *make_samples())


def test_says_what_was_kept_and_dropped():
  text = render()
  assert "12.3\N{NO-BREAK SPACE}%" in text
  assert "−55,900, 69.9\N{NO-BREAK SPACE}% of its input" in text
  assert text.count('class="step"') == 3
  assert text.count("of its input, 1,234 as score_broken<") == 1


def test_loads_nothing_and_runs_nothing():
  text = render()
  assert "<script" not in text
  assert not re.findall(r'(?:src|href)="(?!data:|#)', text)


def test_draws_curves_and_histograms_where_there_are_facts():
  text = render()
  assert text.count("<svg") == 3  # one is the brand's
  assert "t = 700" in text
  assert "those from 0.28 on are kept" in text
  assert "Languages of balance" in text


def test_a_picture_that_cannot_be_read_is_said_to_be_none():
  assert render().count("no picture") == 6


EMPTY = {"num_pairs": 0, "num_kept": 0, "num_uids": 0, "steps": []}


def shares(sampled):
  points = 2 if sampled else 1
  fields = {
    "any": [40_000, 40_000, 6_000, 5_000],
    "counts": {"FR": [30_000, 30_000, 5_999, 2], "XX": [9, 9, 9, 9]},
  }
  terms = {"any": [0, 0, 0, 0], "counts": {}}
  if sampled:
    for group in (fields, terms):
      group["intervals"] = {
        "any": [[0.1, 0.2]] * 4,
        "counts": {name: [[0.012, 0.034]] * 4 for name in group["counts"]},
      }
  pairs = [100_000, 80_000, 24_100, 12_345]
  return {
    "sources": [{"name": "A list", "url": "https://a.b", "licence": "MIT"}],
    "points": ["read", "image_size", "balance", "clip"],
    "pairs": pairs,
    "sampled": [number // points for number in pairs],
    "languages": {
      "source": "balance",
      "counts": {"<b>": [None, 8_000, 4_100, 345], "en": [None, 4, 4, 4]},
    },
    "places": fields,
    "terms": {"gender": terms},
  }


def rows(text, title):
  """Return name and figures of the rows of a panel."""
  panel = text.split(f"<h3>{title} ")[1].split('class="panel')[0]
  names = re.findall(r'class="name[^>]*>([^<]*)<', panel)
  figures = re.findall(r'class="figures">([^<]*)<span class="small">', panel)
  points = re.findall(r'class="small">([^<]*points[^<]*)<', panel)
  space = "\N{NO-BREAK SPACE}"
  return [
    (name, figure.replace(space, ""), point.replace(space, ""))
    for name, figure, point in zip(names, figures, points, strict=True)
  ]


def test_shows_the_shares_that_changed_most():
  text = curation_page.render(EMPTY | {"shares": shares(sampled=False)}, {}, {})
  assert rows(text, "The pool and the selection") == [
    ("any place", "40.0% → 40.5%", "+0.50 points"),
    ("France", "30.0% → 0.02%", "−29.98 points"),
    ("XX", "0.01% → 0.07%", "+0.06 points"),
  ]
  # The languages that the step balance identified are those of its input.
  assert rows(text, "Step balance") == [
    ("&lt;b&gt;", "10.0% → 17.0%", "+7.01 points"),
    ("en", "0.01% → 0.02%", "+0.01 points"),
    ("any place", "50.0% → 24.9%", "−25.10 points"),
    ("France", "37.5% → 24.9%", "−12.61 points"),
    ("XX", "0.01% → 0.04%", "+0.03 points"),
  ]
  assert "the step balance identified" in text
  assert "All pairs are counted" in text
  assert "A list, https://a.b (MIT)" in text
  assert "no change" in text


def test_shares_of_a_sample_have_intervals():
  text = curation_page.render(EMPTY | {"shares": shares(sampled=True)}, {}, {})
  assert rows(text, "Step clip")[-1] == (
    *("XX", "0.07% → 0.15%", "+0.07 points"),
  )
  assert "[1.2\N{NO-BREAK SPACE}%, 3.4\N{NO-BREAK SPACE}%]" in text
  assert "50,000 of the pool&#39;s 100,000 pairs" in text
  assert "All pairs are counted" not in text


def test_an_empty_pool_has_a_page_too():
  assert "pairs in the pool" in curation_page.render(EMPTY, {}, {})
