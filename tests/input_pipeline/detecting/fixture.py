"""Pictures with boxes in COCO's layout and as tables, for tests."""

import json
import pathlib

import numpy as np
from PIL import Image

NAMES = ("square", "bar")


def picture(rng: np.random.Generator) -> tuple[np.ndarray, list, list]:
  """Return pixels [60, 80, 3], boxes and names of one or two bright objects."""
  pixels = rng.integers(0, 90, (60, 80, 3)).astype(np.uint8)
  boxes, labels = [], []
  for start in (0, 40)[: rng.integers(1, 3)]:
    label = int(rng.integers(2))
    left, top = start + int(rng.integers(4, 12)), int(rng.integers(2, 20))
    width, height = ((24, 24), (12, 32))[label]
    pixels[top : top + height, left : left + width] = (255, 200, 40)
    boxes.append([left, top, left + width, top + height])
    labels.append(NAMES[label])
  return pixels, boxes, labels


def write(folder: pathlib.Path, layout: str, num: int = 12) -> pathlib.Path:
  """Write the splits "train" of `num` and "test" of 4 pictures.

  Args:
    folder: new folder.
    layout: "coco", "table" for JSON lines, or "csv".
    num: pictures to train on.
  """
  rng = np.random.default_rng(0)
  for split, count in (("train", num), ("test", 4)):
    (folder / split).mkdir(parents=True)
    rows = []
    for i in range(count):
      pixels, boxes, labels = picture(rng)
      name = f"{split}/{i:03d}.png"
      Image.fromarray(pixels).save(folder / name)
      rows.append({"image": name, "boxes": boxes, "labels": labels})
    write_split(folder, layout, split, rows)
  return folder


def write_split(
  folder: pathlib.Path, layout: str, split: str, rows: list[dict]
) -> None:
  """Write the annotations of a split."""
  if layout == "coco":
    path = folder / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco(split, rows)))
  elif layout == "table":
    lines = [json.dumps(row) for row in rows]
    (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
  else:
    lines = ["image,boxes,labels"]
    for row in rows:
      cells = (
        json.dumps(row[x]).replace('"', '""') for x in ("boxes", "labels")
      )
      lines.append(row["image"] + "".join(f',"{cell}"' for cell in cells))
    (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def coco(split: str, rows: list[dict]) -> dict:
  """Return rows as COCO's annotations, ids from 7 and 90 on."""
  annotations = [
    {
      "id": len(rows) * i + j,
      "image_id": 7 + i,
      "category_id": 90 + NAMES.index(label),
      "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
      "area": (box[2] - box[0]) * (box[3] - box[1]),
      "iscrowd": 0,
    }
    for i, row in enumerate(rows)
    for j, (box, label) in enumerate(
      zip(row["boxes"], row["labels"], strict=True)
    )
  ]
  return {
    "images": [
      {"id": 7 + i, "file_name": row["image"].removeprefix(f"{split}/")}
      for i, row in enumerate(rows)
    ],
    "categories": [{"id": 90 + i, "name": x} for i, x in enumerate(NAMES)],
    "annotations": annotations,
  }
