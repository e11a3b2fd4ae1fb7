"""Names boxes that a detector found, by a dual encoder: zero-shot.

  python -m experiments.florence.detection.name_boxes \\
    --detector=runs/placed_boxes --encoder=runs/placed_pairs --data=cache/placed

Boxes are those of the detector's detections.jsonl that overlap an annotated box
by at least one half (evaluators/proposals.py), or without --detector all
annotated ones; candidates are the names of the split. Printed as JSON: the
share that is named right, its interval over pictures, and chance, for all boxes
and for those whose names have no word, and some word, that no name of the dual
encoder's data has.
"""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from evaluators import proposals, zero_shot
from evaluators.metrics import detection
from experiments.florence.detection import prepare
from experiments.parts import program
from inference import model as model_lib
from input_pipeline.detecting import layouts
from input_pipeline.images import image_ops, image_protocols
from runtime.storage import jsonl
from training.detecting import evaluation

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_DETECTOR = flags.DEFINE_string(
  "detector",
  None,
  "Folder of a run of --task=detect; none names the annotated boxes.",
  flag_values=_FLAGS,
)
_ENCODER = flags.DEFINE_string(
  "encoder", None, "Folder of a run, or published weights.", flag_values=_FLAGS
)
_DATA = flags.DEFINE_string(
  "data", None, "Folder of prepare.py.", flag_values=_FLAGS
)
_SPLIT = flags.DEFINE_string(
  "split", "test", "Split that the boxes are of.", flag_values=_FLAGS
)
_BATCH_SIZE = 64
# Templates of ours, as pairs.jsonl has names alone.
_TEMPLATES = ("{}",)


def main(argv: Sequence[str]) -> None:
  del argv
  if not (_ENCODER.value and _DATA.value):
    raise app.UsageError("--encoder and --data are both needed")
  folder = pathlib.Path(_DATA.value)
  detector = pathlib.Path(_DETECTOR.value) if _DETECTOR.value else None
  model = model_lib.load(_ENCODER.value)
  record = name_boxes(model, folder, detector, _SPLIT.value)
  print(json.dumps(record, indent=2))


def name_boxes(
  model: model_lib.Model,
  folder: pathlib.Path,
  detector: pathlib.Path | None,
  split: str,
) -> dict[str, Any]:
  """Return the records of boxes that were named.

  Args:
    model: dual encoder.
    folder: folder of prepare.py.
    detector: folder of a run whose detections.jsonl are those of the split;
      None names the annotated boxes.
    split: name of the split.

  Returns:
    The record of all boxes, and of those whose names have only words of the
    names of pairs.jsonl ("seen_words"), and of the others ("unseen_word").

  Raises:
    ValueError: the detector's pictures are not those of the split.
  """
  names_of = json.loads((folder / prepare.NAMES).read_text())
  names = names_of[split]
  inputs = model.make_inputs()
  protocol = inputs.image_protocol
  assert isinstance(protocol, image_protocols.Protocol)  # a tower of squares
  embedder = model.make_embedder(_BATCH_SIZE)
  prompts = [template.format(x) for x in names for template in _TEMPLATES]
  ztxt_PE = embedder.texts(model.params, inputs.tokenizer(prompts))
  zclass_AE = zero_shot.class_embeddings(ztxt_PE, len(names))
  pictures = layouts.read(folder, "table", split, "--split")
  words = {word for name in names_of["pairs"] for word in name.split()}
  right, picture_P, is_seen = [], [], []
  for row, (one, found) in enumerate(_found(pictures, detector)):
    chosen_M = proposals.matched(_boxes(one.box_M4), found)
    is_found_M = chosen_M >= 0
    parts = proposals.crops(
      image_ops.decode(one.path.read_bytes()), found.box_M4[is_found_M]
    )
    label_P, _ = proposals.classify(
      parts,
      lambda images: embedder.images(model.params, images),
      protocol.apply,
      zclass_AE,
      batch_size=_BATCH_SIZE,
    )
    for label, truth in zip(label_P, chosen_M[is_found_M], strict=True):
      right.append(names[label] == one.labels[truth])
      is_seen.append({*one.labels[truth].split()} <= words)
      picture_P.append(row)
  right_P, row_P = np.array(right, bool), np.array(picture_P)
  is_seen_P = np.array(is_seen, bool)
  return {
    group: proposals.record(right_P[of_P], row_P[of_P], len(names))
    for group, of_P in (
      ("all", np.ones_like(right_P)),
      ("seen_words", is_seen_P),
      ("unseen_word", ~is_seen_P),
    )
  }


def _found(
  pictures: layouts.Pictures, detector: pathlib.Path | None
) -> Iterator[tuple[layouts.Picture, detection.Boxes]]:
  """Yield pictures and their boxes, found ones or those annotated."""
  if detector is None:
    for one in pictures.listed:
      yield one, _boxes(one.box_M4, np.ones(len(one.box_M4)))
    return
  by_name = {one.name: one for one in pictures.listed}
  for line in jsonl.read(detector / evaluation.DETECTIONS):
    if line["image"] not in by_name:
      raise ValueError(
        f"--detector={detector}: {evaluation.DETECTIONS} must have pictures of"
        f" the split; got {line['image']}"
      )
    yield (
      by_name[line["image"]],
      _boxes(line["boxes"], np.array(line["scores"])),
    )


def _boxes(boxes: Any, score_M: np.ndarray | None = None) -> detection.Boxes:
  box_M4 = np.asarray(boxes, np.float64).reshape(-1, 4)
  return detection.Boxes(box_M4, np.zeros(len(box_M4), np.int32), score_M)


if __name__ == "__main__":
  program.run(main, _FLAGS)
