"""Suite of videos: retrieval on MSR-VTT (1K-A), DiDeMo and ActivityNet.

Videos and annotations lie below one folder a set, as they are published
(docs/data.md). A config takes sets of it by

  config.evaluate.sets = videos.suite(
    sources.source(), {"msrvtt": "PATH"}, tower="inflated"
  )

The views are Florence's 4 clips x 3 crops (arXiv 2111.11432, on Kinetics; those
of retrieval are unpublished), of 8 frames at 2 a second, which is ours. Without
a tower, the image tower embeds frame by frame, as CLIP's baseline does
(docs/evaluation.md). Florence's figures on MSR-VTT, without training on videos:
R@1 37.6, R@5 63.8, R@10 72.6, text to video (table 9); its data are not public,
and ours were not run.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from evaluators.sets import kinds

# Set -> layout, and the split that papers evaluate on.
SETS: Mapping[str, tuple[str, str]] = {
  "msrvtt": ("msrvtt.captions", "test"),
  "didemo": ("paragraphs.didemo", "test"),
  "activitynet": ("paragraphs.activitynet", "val_1"),
}


def suite(
  source: ml_collections.ConfigDict, folders: Mapping[str, str], **video: Any
) -> ml_collections.ConfigDict:
  """Return `config.evaluate.sets` with these sets of videos.

  Args:
    source: section of any source, whose place those of the sets take.
    folders: folder of each set, by keys of SETS.
    **video: fields of the sections `video`, evaluators.sets.videos.VideoConfig.
  """
  sections = {}
  for name, path in folders.items():
    layout, split = SETS[name]
    own = {"format": "layout", "layout": layout, "path": path, "split": split}
    sections[name] = kinds.retrieval(
      {**source.to_dict(), **own}, video=kinds.videos(**video)
    )
  return ml_collections.ConfigDict(sections)
