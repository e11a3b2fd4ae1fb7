"""Videos described by several sentences: DiDeMo, ActivityNet Captions.

For retrieval, the sentences of a video are joined to one caption, a paragraph,
in the order of the file (ClipBERT, arXiv 2102.06183, section 4.1).

- DiDeMo (Hendricks et al., ICCV 2017): {train,val,test}_data.json, a list of
  moments with "video" and "description". The names of videos have the suffix
  that Flickr gave them; a file of another suffix is taken too.
- ActivityNet Captions (Krishna et al., ICCV 2017): train.json, val_1.json and
  val_2.json, {video: {"sentences": [...]}}; retrieval is evaluated on val_1.
"""

import posixpath
from collections.abc import Iterator

from input_pipeline.sources.layouts import layout

_DIDEMO = ("train", "val", "test")
_ACTIVITYNET = ("train", "val_1", "val_2")


def _didemo(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the videos of DiDeMo, each with the paragraph of its moments."""
  sentences: dict[str, list[str]] = {}
  for entry in data.json(data.named(f"{split}_data.json")):
    stem = posixpath.splitext(entry["video"])[0]
    sentences.setdefault(stem, []).append(entry["description"])
  for stem, texts in sentences.items():
    yield {**data.needs_video(stem), "caption": _joined(texts)}


def _activitynet(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the videos of ActivityNet, each with its paragraph."""
  for name, entry in data.json(data.named(f"{split}.json")).items():
    yield {**data.needs_video(name), "caption": _joined(entry["sentences"])}


def _joined(sentences: list[str]) -> str:
  return " ".join(sentence.strip() for sentence in sentences)


LAYOUTS = {
  "didemo": layout.Layout(
    _didemo,
    "{train,val,test}_data.json and the videos in any folder",
    _DIDEMO,
    "github.com/LisaAnne/LocalizingMoments",
  ),
  "activitynet": layout.Layout(
    _activitynet,
    "{train,val_1,val_2}.json and videos v_ID.mp4 in any folder",
    _ACTIVITYNET,
    "cs.stanford.edu/people/ranjaykrishna/densevid",
  ),
}
