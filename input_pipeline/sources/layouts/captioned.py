"""Images with several captions: COCO, Karpathy's split, NoCaps, TextCaps.

  coco      captions_SPLIT.json of cocodataset.org (arXiv 1504.00325)
  karpathy  dataset_coco.json, 5,000 images of COCO for validation and 5,000 for
            the test (Karpathy and Fei-Fei, arXiv 1412.2306)
  nocaps    nocaps_val_4500_captions.json, ten captions an image of Open Images
            (arXiv 1812.08658)
  textcaps  TextCaps_0.1_SPLIT.json, captions of images with text (arXiv
            2003.12462)

Rows have "image_id", the image's number or name in the file, which results name
it by, and of NoCaps "domain": in-domain, near-domain or out-domain. Images lie
in any folder below the set's, by their names. An image without captions is a
fault of its example. `entries` reads the files for evaluation alone, which
needs no image.
"""

import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from input_pipeline.sources.layouts import layout

_KARPATHY = "dataset_coco.json"
_NOCAPS = "nocaps_val_4500_captions.json"
_COCO = ("train2014", "val2014", "train2017", "val2017")
# Splits of Karpathy's file by the name of a split here.
_PARTS: Mapping[str, tuple[str, ...]] = {
  "train": ("train",),
  "train_restval": ("train", "restval"),
  "restval": ("restval",),
  "val": ("val",),
  "test": ("test",),
}


@dataclasses.dataclass(frozen=True)
class Entry:
  """Image of a file of captions.

  Attributes:
    image_id: number or name of the image in the file.
    file_name: name of the image's own file, without folders.
    captions: its captions, in their order.
    domain: domain of NoCaps; "" for none.
    split: split of Karpathy's file; "" elsewhere.
  """

  image_id: str
  file_name: str
  captions: tuple[str, ...]
  domain: str = ""
  split: str = ""


def entries(content: Any) -> list[Entry]:
  """Return the images of a file's JSON, whichever of the forms it has.

  Raises:
    KeyError, TypeError: a field is missing, or of another type.
    ValueError: it has none of the forms, or images of one number.
  """
  for form, (name, read) in _FORMS.items():
    if isinstance(content, dict) and name in content:
      made = [*read(content)]
      numbers = {entry.image_id for entry in made}
      if len(numbers) < len(made):
        raise ValueError(
          f"the {form} form must have each image once; got"
          f" {len(made) - len(numbers)} again"
        )
      return made
  raise ValueError(
    'captions must be JSON with "data" (TextCaps), "annotations" and "images"'
    ' (COCO, NoCaps) or "images" alone (Karpathy); got'
    f" {[*content][:5] if isinstance(content, dict) else type(content)}"
  )


def of_split(made: list[Entry], split: str) -> list[Entry]:
  """Return the images of a split of Karpathy's file.

  Raises:
    ValueError: no image is of it.
  """
  chosen = [entry for entry in made if entry.split in _PARTS.get(split, ())]
  if not chosen:
    raise ValueError(
      f"split must be one of {', '.join(_PARTS)} that has images; got {split!r}"
    )
  return chosen


def _coco_entries(content: Mapping[str, Any]) -> Iterator[Entry]:
  """Yield the images of COCO's form, which NoCaps has too."""
  captions: dict[Any, list[str]] = {x["id"]: [] for x in content["images"]}
  for one in content["annotations"]:
    captions[one["image_id"]].append(_text(one["caption"]))
  for one in content["images"]:
    yield Entry(
      *(str(one["id"]), posixpath.basename(one["file_name"])),
      tuple(captions[one["id"]]),
      one.get("domain", ""),
    )


def _karpathy_entries(content: Mapping[str, Any]) -> Iterator[Entry]:
  """Yield the images of Karpathy's file; COCO's have COCO's numbers."""
  for one in content["images"]:
    yield Entry(
      str(one["cocoid"] if "cocoid" in one else one["imgid"]),
      posixpath.basename(one["filename"]),
      tuple(_text(sentence["raw"]) for sentence in one["sentences"]),
      split=one["split"],
    )


def _textcaps_entries(content: Mapping[str, Any]) -> Iterator[Entry]:
  """Yield the images of TextCaps' file, which has a row a caption."""
  captions: dict[str, dict[str, None]] = {}
  for one in content["data"]:
    texts = one.get("reference_strs") or [one["caption_str"]]
    captions.setdefault(str(one["image_id"]), {}).update(
      dict.fromkeys(map(_text, texts))
    )
  for name, texts in captions.items():
    yield Entry(name, f"{name}.jpg", tuple(texts))


def _text(value: Any) -> str:
  """Return a caption; TypeError where it is none."""
  if not isinstance(value, str):
    raise TypeError(f"a caption must be a text; got {value!r:.60}")
  return value


# Form -> key by which it is known, and its reader; the first that fits.
_FORMS = {
  "TextCaps": ("data", _textcaps_entries),
  "COCO": ("annotations", _coco_entries),
  "Karpathy": ("images", _karpathy_entries),
}


def _rows(
  data: layout.Folder, file: str, split: str = ""
) -> Iterator[layout.Row]:
  try:
    made = entries(data.json(file))
    made = of_split(made, split) if split else made
  except ValueError as error:
    raise data.wrong(f"has {file} in another form: {error}") from error
  images = data.images_by_name()
  for entry in made:
    name = images.get(entry.file_name, entry.file_name)
    if not entry.captions:
      message = f"{file} has no caption of {entry.image_id}"
      yield layout.fault(name, "caption_missing", message)
      continue
    yield {
      **data.needs_image(name),
      "caption": [*entry.captions],
      "image_id": entry.image_id,
      "domain": entry.domain or None,
    }


def _coco(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  yield from _rows(data, data.named(f"captions_{split}.json"))


def _karpathy(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  yield from _rows(data, data.named(_KARPATHY), split)


def _nocaps(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  del split
  yield from _rows(data, data.named(_NOCAPS))


def _textcaps(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  yield from _rows(data, data.named(f"TextCaps_0.1_{split}.json"))


_IMAGES = "images by their names in any folder"
LAYOUTS = {
  "coco": layout.Layout(
    _coco,
    f"captions_{{train2014,val2014,train2017,val2017}}.json; {_IMAGES}",
    _COCO,
    "cocodataset.org",
  ),
  "karpathy": layout.Layout(
    _karpathy,
    f"{_KARPATHY}; {_IMAGES}",
    (*_PARTS,),
    "cs.stanford.edu/people/karpathy/deepimagesent",
  ),
  "nocaps": layout.Layout(
    _nocaps, f"{_NOCAPS}; {_IMAGES}", ("val",), "nocaps.org"
  ),
  "textcaps": layout.Layout(
    _textcaps,
    f"TextCaps_0.1_{{train,val}}.json; {_IMAGES}",
    ("train", "val"),
    "textvqa.org/textcaps",
  ),
}
