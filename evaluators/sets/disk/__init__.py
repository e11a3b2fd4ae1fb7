"""Standard forms of sets on disk, by key: folders below --data_root, readers.

Each reader takes a folder and returns a field_set.FieldSet without copying an
image, or None where its files are not there.
"""

from collections.abc import Callable, Mapping

from evaluators.sets import field_set
from evaluators.sets.disk import (
  captions,
  class_folders,
  faces,
  items,
  objectnet,
)

Reader = Callable[..., field_set.FieldSet | None]

# Key, or its first part -> folders of the set, best first.
_FOLDERS: Mapping[str, tuple[str, ...]] = {
  "imagenet1k": ("imagenet1k", "imagenet", "ILSVRC2012"),
  "imagenet_sketch": ("imagenet_sketch", "imagenet-sketch", "ImageNet-Sketch"),
  "imagenetv2": (
    "imagenetv2",
    "imagenetv2-matched-frequency-format-val",
    "ImageNetV2-matched-frequency",
  ),
  "imagenet-a": ("imagenet-a",),
  "imagenet-o": ("imagenet-o",),
  "imagenet-r": ("imagenet-r",),
  "objectnet": ("objectnet", "objectnet-1.0"),
  "mscoco_captions": ("mscoco_captions", "coco", "mscoco", "coco2014"),
  "flickr30k": ("flickr30k", "flickr30k_images"),
  "flickr8k": ("flickr8k",),
  "multi30k": ("multi30k", "multi30k-dataset"),
  "crossmodal3600": ("crossmodal3600", "xm3600"),
  "winoground": ("winoground",),
  "sugar_crepe": ("sugar_crepe", "sugar-crepe"),
  "misc/winogavil": ("winogavil",),
  "fairness/fairface": ("fairface", "FairFace"),
  "fairness/utkface": ("utkface", "UTKFace"),
}
_RETRIEVAL = {
  "retrieval/flickr_1k_test_image_text_retrieval": "flickr30k",
  "retrieval/mscoco_2014_5k_test_image_text_retrieval": "mscoco_captions",
}
_READERS: Mapping[str, Reader] = {
  "mscoco_captions": captions.open_set,
  "flickr30k": captions.open_set,
  "flickr8k": captions.open_set,
  "multi30k": captions.open_set,
  "crossmodal3600": captions.open_set,
  "objectnet": objectnet.open_set,
  "sugar_crepe": items.sugar_crepe,
}
_ROOT_READERS: Mapping[str, Reader] = {
  "winoground": items.winoground,
  "misc/winogavil": items.winogavil,
  "fairness/fairface": faces.fairface,
  "fairness/utkface": faces.utkface,
}
_ORIGINS: Mapping[str, str] = {
  "imagenet1k": "val/SYNSET/*.JPEG, or val/*.JPEG with LOC_val_solution.csv: "
  "image-net.org, ILSVRC 2012",
  "imagenet_sketch": "sketch/SYNSET/*.JPEG: "
  "github.com/HaohanWang/ImageNet-Sketch",
  "imagenetv2": "0/*.jpeg to 999/*.jpeg: huggingface.co/datasets/vaishaal/"
  "ImageNetV2, imagenetv2-matched-frequency.tar.gz",
  "imagenet-a": "SYNSET/*.jpg: github.com/hendrycks/natural-adv-examples",
  "imagenet-o": "SYNSET/*.jpg: github.com/hendrycks/natural-adv-examples",
  "imagenet-r": "SYNSET/*.jpg: github.com/hendrycks/imagenet-r",
  "objectnet": "objectnet-1.0/ with its images/ and mappings/: objectnet.dev",
  "mscoco_captions": "coco_test_karpathy.json (github.com/mehdidc/"
  "retrieval_annotations, release 1.0.0) or dataset_coco.json, and val2014/ of "
  "cocodataset.org",
  "flickr30k": "flickr30k_test_karpathy.txt (github.com/mehdidc/"
  "retrieval_annotations, release 1.0.0) or dataset_flickr30k.json, and its "
  "images",
  "flickr8k": "flickr8k_test_karpathy.txt (github.com/mehdidc/"
  "retrieval_annotations, release 1.0.0) or dataset_flickr8k.json, and its "
  "images",
  "multi30k": "data/task1 of github.com/multi30k/dataset, and images/ of "
  "Flickr30k",
  "crossmodal3600": "captions.jsonl (google.github.io/crossmodal-3600) and "
  "images/KEY.jpg",
  "winoground": "examples.jsonl and images/ of huggingface.co/datasets/"
  "facebook/winoground, after its terms were accepted",
  "sugar_crepe": "KIND.json of github.com/RAIVNLab/sugar-crepe (data/) and "
  "val2017/ of cocodataset.org",
  "misc/winogavil": "winogavil.jsonl or .csv with cue, candidates and "
  "associations, and NAME.jpg: huggingface.co/datasets/nlphuji/winogavil",
  "fairness/fairface": "fairface_label_val.csv and val/: "
  "github.com/joojs/fairface",
  "fairness/utkface": "age_gender_race_time.jpg: susanqq.github.io/UTKFace",
}


def folders(key: str) -> tuple[str, ...]:
  """Return the folders of a set in its standard form; () for none."""
  if key in _RETRIEVAL:
    return (key.partition("/")[2], *_FOLDERS[_RETRIEVAL[key]])
  return _FOLDERS.get(_form(key), ())


def origin(key: str) -> str:
  """Return the files of a set's standard form and their origin; "" for none."""
  key = _RETRIEVAL.get(key, key)
  return _ORIGINS.get(_form(key), "")


def open_set(
  key: str, data_root: str, *, cache_dir: str
) -> field_set.FieldSet | None:
  """Return a set in its standard form below a folder; None for none there.

  Raises:
    ValueError: a file of the form cannot be used.
  """
  form = _form(_RETRIEVAL.get(key, key))
  for folder in folders(key):
    root = f"{data_root}/{folder}"
    if form in _ROOT_READERS:
      opened = _ROOT_READERS[form](root, cache_dir=cache_dir)
    else:
      read = _READERS.get(form, class_folders.open_set)
      opened = read(key, root, cache_dir=cache_dir)
    if opened is not None:
      return opened
  return None


def _form(key: str) -> str:
  return "sugar_crepe" if key.startswith("sugar_crepe/") else key
