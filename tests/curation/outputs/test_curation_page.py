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


def test_an_empty_pool_has_a_page_too():
  manifest = {"num_pairs": 0, "num_kept": 0, "num_uids": 0, "steps": []}
  assert "pairs in the pool" in curation_page.render(manifest, {}, {})
