"""Names boxes that a detector found, by a dual encoder: zero-shot.

  python -m experiments.florence.detection.name_boxes \\
    --detector=runs/placed_boxes --encoder=runs/placed_pairs --data=cache/placed

Boxes are those of the detector's detections.jsonl that overlap an annotated box
by at least one half (evaluators/proposals.py); candidates are the names of
names.txt. Printed as JSON: the share that is named right, its interval over
pictures, and chance.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags

from evaluators import proposals, zero_shot
from evaluators.metrics import detection
from experiments.parts import program
from inference import model as model_lib
from input_pipeline.detecting import layouts
from input_pipeline.images import image_ops, image_protocols
from runtime.storage import jsonl
from training.detecting import evaluation

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_DETECTOR = flags.DEFINE_string(
  "detector", None, "Folder of a run of --task=detect.", flag_values=_FLAGS
)
_ENCODER = flags.DEFINE_string(
  "encoder", None, "Folder of a run, or published weights.", flag_values=_FLAGS
)
_DATA = flags.DEFINE_string(
  "data", None, "Folder of prepare.py.", flag_values=_FLAGS
)
_BATCH_SIZE = 64
# Templates of ours, as pairs.jsonl has names alone.
_TEMPLATES = ("{}",)


def main(argv: Sequence[str]) -> None:
  del argv
  if not (_DETECTOR.value and _ENCODER.value and _DATA.value):
    raise app.UsageError("--detector, --encoder and --data are all needed")
  folder = pathlib.Path(_DATA.value)
  model = model_lib.load(_ENCODER.value)
  record = name_boxes(model, folder, pathlib.Path(_DETECTOR.value))
  print(json.dumps(record, indent=2))


def name_boxes(
  model: model_lib.Model, folder: pathlib.Path, detector: pathlib.Path
) -> dict[str, Any]:
  """Return the record of the boxes that were found and named.

  Args:
    model: dual encoder.
    folder: folder of prepare.py.
    detector: folder of a run whose detections.jsonl are those of test.jsonl.

  Raises:
    ValueError: its pictures are not those of test.jsonl.
  """
  names = (folder / "names.txt").read_text().splitlines()
  inputs = model.make_inputs()
  protocol = inputs.image_protocol
  assert isinstance(protocol, image_protocols.Protocol)  # ConvNeXt's
  embedder = model.make_embedder(_BATCH_SIZE)
  prompts = [template.format(x) for x in names for template in _TEMPLATES]
  ztxt_PE = embedder.texts(model.params, inputs.tokenizer(prompts))
  zclass_AE = zero_shot.class_embeddings(ztxt_PE, len(names))
  pictures = layouts.read(folder, "table", "test", "--data")
  by_name = {one.name: one for one in pictures.listed}
  right, picture_P = [], []
  for row, line in enumerate(jsonl.read(detector / evaluation.DETECTIONS)):
    if line["image"] not in by_name:
      raise ValueError(
        f"--detector={detector}: {evaluation.DETECTIONS} must have pictures of"
        f" {folder}/test.jsonl; got {line['image']}"
      )
    one = by_name[line["image"]]
    found = _boxes(line["boxes"], np.array(line["scores"]))
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
      picture_P.append(row)
  return proposals.record(
    np.array(right, bool), np.array(picture_P), len(names)
  )


def _boxes(boxes: Any, score_M: np.ndarray | None = None) -> detection.Boxes:
  box_M4 = np.asarray(boxes, np.float64).reshape(-1, 4)
  return detection.Boxes(box_M4, np.zeros(len(box_M4), np.int32), score_M)


if __name__ == "__main__":
  program.run(main, _FLAGS)
