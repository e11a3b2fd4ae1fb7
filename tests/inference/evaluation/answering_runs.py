"""Runs with a decoder that learns answers, and a table of questions."""

import json

import numpy as np
from PIL import Image

from configs.parts import sources
from evaluators.sets import kinds
from tests import tiny_joint

FIELDS = (
  ("question", "question"),
  ("answers", "answers"),
  ("answer_type", "type"),
)
# Question, ten humans' answers, type; each about a picture of its own but the
# last two.
ROWS = (
  ("red?", ["Yes"] * 10, "yes/no"),
  ("wet?", ["no"] * 9 + ["yes"], "yes/no"),
  ("blue?", ["es"] * 2 + ["no"] * 8, "other"),
  ("Odd ?", ["no"] * 10, "other"),
)


def write(folder, **changes):
  """Write the table, and return its path."""
  folder.mkdir(parents=True, exist_ok=True)
  lines = []
  for number, (question, answers, kind) in enumerate(ROWS):
    name = f"{min(number, 2)}.png"
    pixels = np.full((20, 24, 3), 60 * min(number, 2), np.uint8)
    Image.fromarray(pixels).save(folder / name)
    row = {"image": name, "question": question, "answers": answers}
    row |= {"text": question}  # POPE's field
    row |= {"label": max(answers, key=answers.count).lower(), "type": kind}
    lines.append(json.dumps(row | changes))
  path = folder / "questions.jsonl"
  path.write_text("\n".join(lines) + "\n")
  return path


def make_values(folder):
  """Write the table, and return the config of a run that trains on it.

  Its sets are the table: "vqa" by answers of humans, "exact" by one answer,
  and "pope".
  """
  path = write(folder / "table")

  def source(*fields):
    return sources.source(
      format="table", path=str(path), question_fields=tuple(fields)
    )

  values = tiny_joint.get_config("")
  values.batch_size = 4
  values.data.sources.main = source(*FIELDS)
  values.data.cache_dir = str(folder / "cache")
  regions = values.data.regions
  regions.num_tokens, regions.num_bins, regions.answers = 16, 8, True
  tiny_joint.decoding.set_on(values)
  values.decoding.decoder.parallel_share = 0.0
  values.loss.weight = 0.0
  values.optimizer.freeze = ((r"decoder/.*", False), (r".*", True))
  values.evaluate.batch_size = 8
  labelled = source(("question", "question"), ("answer", "label"))
  values.evaluate.sets.vqa = kinds.answering(source(*FIELDS).to_dict())
  values.evaluate.sets.exact = kinds.answering(labelled.to_dict())
  polled = source(("question", "text"), ("answer", "label"))
  polled.image, polled.image_root = ("image",), str(path.parent)
  values.evaluate.sets.pope = kinds.answering(polled.to_dict(), judge="polling")
  return values
