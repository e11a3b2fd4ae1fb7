"""VQA v2 (Goyal et al., arXiv 1612.00837): questions about COCO's pictures.

A split has v2_OpenEnded_mscoco_SPLIT_questions.json and
v2_mscoco_SPLIT_annotations.json; pictures are COCO_SPLIT_ID.jpg, ID of 12
digits, in whichever folder they lie. Rows have "question", "answers" of ten
people, "answer", which most of them gave, and "answer_type": yes/no, number or
other.
"""

from collections.abc import Iterator

from input_pipeline.sources.layouts import layout

_SPLITS = {"train": "train2014", "val": "val2014"}


def _v2(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the questions of a split, in the order of their file."""
  name = _SPLITS[split]
  annotations = {
    entry["question_id"]: entry
    for entry in data.json(data.named(f"v2_mscoco_{name}_annotations.json"))[
      "annotations"
    ]
  }
  images = data.images_by_name()
  file = data.named(f"v2_OpenEnded_mscoco_{name}_questions.json")
  for entry in data.json(file)["questions"]:
    number, question = entry["question_id"], entry["question"].strip()
    image = f"COCO_{name}_{entry['image_id']:012d}.jpg"
    if number not in annotations:
      message = f"no annotation has the question_id {number} of {file}"
      yield layout.fault(image, "record_broken", message)
      continue
    given = annotations[number]
    yield {
      **data.needs_image(images.get(image, image)),
      "caption": question,
      "question": question,
      "answer": given["multiple_choice_answer"],
      "answer_type": given["answer_type"],
      "answers": [one["answer"] for one in given["answers"]],
    }


LAYOUTS = {
  "v2": layout.Layout(
    _v2,
    "v2_OpenEnded_mscoco_{train2014,val2014}_questions.json, v2_mscoco_..."
    "_annotations.json and pictures COCO_..._ID.jpg in any folder",
    (*_SPLITS,),
    "visualqa.org",
  )
}
