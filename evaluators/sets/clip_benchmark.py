"""Suites and names of sets: CLIP_benchmark's collections, and DataComp's keys.

Collections are those of clip_benchmark/datasets/builder.py in version 1.6.2,
but for `imagenet_shifts`, DataComp's six; CLIP_benchmark's five are
`imagenet_robustness`.
"""

from collections.abc import Mapping

from evaluators.sets import datacomp

_VTAB_ONLY = (
  *("vtab/diabetic_retinopathy", "vtab/dmlab"),
  *("vtab/dsprites_label_orientation", "vtab/dsprites_label_x_position"),
  *("vtab/smallnorb_label_azimuth", "vtab/smallnorb_label_elevation"),
)
_VTAB = (*datacomp.VTAB, *_VTAB_ONLY)
_ROBUSTNESS = tuple(key for key in datacomp.SHIFTS if key != "imagenet-o")

SUITES: Mapping[str, tuple[str, ...]] = {
  "datacomp38": tuple(datacomp.main_tasks()),
  "fairness": tuple(
    key for key in datacomp.tasks() if key.startswith("fairness/")
  ),
  "vtab": _VTAB,
  "vtab+": (
    *("imagenet1k", *_ROBUSTNESS, "fer2013", "voc2007", "voc2007_multilabel"),
    *("cars", "fgvc_aircraft", "mnist", "stl10", "gtsrb", "country211"),
    *("renderedsst2", "cifar10", *_VTAB),
  ),
  "imagenet_shifts": datacomp.SHIFTS,
  "imagenet_robustness": _ROBUSTNESS,
  "retrieval": ("mscoco_captions", "flickr8k", "flickr30k"),
  "sugar_crepe": tuple(
    f"sugar_crepe/{kind}"
    for kind in (
      *("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel"),
      *("swap_att", "swap_obj"),
    )
  ),
}
# Sets of no suite that have a folder or a standard form too.
_OTHERS = ("crossmodal3600", "multi30k", "winoground")
# CLIP_benchmark's name -> DataComp's key of the same pictures and captions.
_SAME = {
  "mscoco_captions": "retrieval/mscoco_2014_5k_test_image_text_retrieval",
  "flickr30k": "retrieval/flickr_1k_test_image_text_retrieval",
}
# Sets that are at huggingface.co/datasets/clip-benchmark: benchmark/
# webdatasets.txt of LAION-AI/CLIP_benchmark (commit c475e1c).
_ON_HUB = frozenset(
  (
    *(*SUITES["retrieval"], "imagenet1k", *datacomp.SHIFTS, "fer2013"),
    *("voc2007", "cars", "fgvc_aircraft", "mnist", "stl10", "gtsrb"),
    *("country211", "renderedsst2", "vtab/cifar10", *_VTAB),
  )
)
# Key of a set -> its name there, where it is another.
_ON_HUB_AS = {
  "cifar10": "vtab/cifar10",
  **{key: name for name, key in _SAME.items()},
}
_SHORT = {
  "xm3600": "crossmodal3600",
  "coco": "mscoco_captions",
  "mscoco": "mscoco_captions",
  "flickr": "flickr30k",
  "vtab/cifar10": "cifar10",
  "vtab/sun397": "sun397",
  "imagenet": "imagenet1k",
  "imagenet-sketch": "imagenet_sketch",
  "imagenet_v2": "imagenetv2",
  "imagenet_a": "imagenet-a",
  "imagenet_o": "imagenet-o",
  "imagenet_r": "imagenet-r",
}


def known() -> tuple[str, ...]:
  """Return the keys of all sets that are known by name, each once."""
  every = (*datacomp.tasks(), *(x for suite in SUITES.values() for x in suite))
  return tuple(dict.fromkeys((*every, *_OTHERS)))


def key_of(name: str) -> str | None:
  """Return the key that a name means, None for a name that is not known.

  >>> key_of("flowers"), key_of("geode"), key_of("imagenet")
  ('vtab/flowers', 'fairness/geode', 'imagenet1k')
  """
  name = _SHORT.get(name, name)
  if name in known():
    return name
  ends = [key for key in known() if key.rpartition("/")[2] == name]
  return ends[0] if len(ends) == 1 else None


def published(key: str) -> datacomp.Task | None:
  """Return DataComp's facts about a set, None where it has none."""
  return datacomp.tasks().get(_SAME.get(key, key))


def folders(key: str) -> tuple[str, ...]:
  """Return the folders of a set in the `wds_*` layout, best first.

  >>> folders("vtab/dtd")
  ('wds_vtab-dtd_test', 'wds_vtab-dtd', 'wds_dtd')
  """
  task = published(key)
  # DataComp has no folder for sets that it reads from Parquet.
  names = [task.folder] if task and not task.is_parquet else []
  names += [f"wds_{key.replace('/', '-')}", f"wds_{key.rpartition('/')[2]}"]
  others = [name for name, same in _SAME.items() if same == key]
  names += [f"wds_{name}" for name in others]
  if key in ("cifar10", "sun397"):
    names.append(f"wds_vtab-{key}")
  return tuple(dict.fromkeys(names))


def repositories(key: str) -> tuple[str, ...]:
  """Return the data sets on the Hugging Face Hub with a set, best first."""
  task = published(key)
  names = [task.repository] if task else []
  if key == "winoground":
    names.append("facebook/winoground")
  name = _ON_HUB_AS.get(key, key)
  if name in _ON_HUB:
    names.append(f"clip-benchmark/wds_{name.replace('/', '-')}")
  return tuple(dict.fromkeys(names))
