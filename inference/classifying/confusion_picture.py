"""Confusion table as a picture: a PNG with a row for each true label."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import figure

# Labels of a picture that can be read; the JSON file has all.
MOST = 40
_NUM_CHARACTERS = 24


def png(results: Mapping[str, Any]) -> bytes:
  """Draw the shares of predicted labels of each true one.

  Args:
    results: of outcomes.Outcomes, with one label a picture. Of more than MOST
      labels those with most pictures are drawn, the rest is in "(others)".
  """
  rows = sorted(results["per_label"], key=lambda x: -x["num"])
  kept = {row["label"] for row in rows[:MOST]}
  names = [x["label"] for x in results["per_label"] if x["label"] in kept]
  columns = [*names]
  columns += ["(others)"] if len(rows) > len(names) else []
  columns += ["(none)"] if results["num_abstained"] else []
  count = np.zeros((len(names), len(columns)))
  for label, predicted, num in results["confusion"]:
    if label in kept:
      column = "(none)" if predicted is None else predicted
      column = column if column in (*kept, "(none)") else "(others)"
      count[names.index(label), columns.index(column)] += num
  share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
  side = max(3.0, 0.32 * len(names))
  canvas = figure.Figure(figsize=(side + 3, side + 2.4), layout="constrained")
  axes = canvas.subplots()
  drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
  axes.set_xticks(range(len(columns)), map(_cut, columns), rotation=90)
  axes.set_yticks(range(len(names)), map(_cut, names))
  axes.set_xlabel("predicted")
  axes.set_ylabel("true")
  accuracy = results["accuracy"]
  low, high = accuracy["interval"]
  axes.set_title(
    f"accuracy {accuracy['value']:.3f} [{low:.3f}, {high:.3f}] of"
    f" {accuracy['of']:,} pictures"
    + (f"\n{len(names)} most frequent labels" if len(rows) > len(names) else "")
  )
  if len(names) <= 12:
    for y, x in np.argwhere(count):
      color = "white" if share[y, x] > 0.5 else "black"
      axes.text(
        x, y, f"{count[y, x]:.0f}", ha="center", va="center", color=color
      )
  canvas.colorbar(drawn, label="share of the true label")
  buffer = io.BytesIO()
  canvas.savefig(buffer, format="png", dpi=110)
  return buffer.getvalue()


def _cut(name: str) -> str:
  if len(name) <= _NUM_CHARACTERS:
    return name.replace("$", r"\$")
  return name[: _NUM_CHARACTERS - 1].replace("$", r"\$") + "…"
