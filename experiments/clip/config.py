"""CLIP's claims in miniature: prompts, shots, an unseen style (README.md).

  pairs     image and text towers by the softmax loss, on names and tags
  classes   the image tower and a linear head by cross-entropy, on labels
  pairs_val, classes_val  the same, judged on `val`: for choices of settings

Data: python -m experiments.clip.prepare. Towers: those of
experiments/parts/emoji_run.py.
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from configs.parts import sources, variants
from evaluators.sets import kinds
from experiments.clip import labels
from experiments.parts import emoji_run

FOLDER = "cache/clip"
# Drawings that have a class.
NUM_TEST, NUM_STYLE = 982, 1231
VARIANT_NAMES = ("pairs", "classes", "pairs_val", "classes_val")
# Pairs, and drawings with a label, in a step.
BATCH_SIZE, LABELS_BATCH_SIZE = 256, 64
# Width of both towers -> heads.
WIDTHS = {32: 2, 64: 4, 128: 4}
NUM_EXAMPLES = 65_536
# Sentences that stand around a name or tags in training, each with the same
# probability. The last one leaves them alone. All are ours.
TEMPLATES = (
  "a drawing of {}.",
  "an emoji of {}.",
  "a small picture of {}.",
  "an icon: {}.",
  "clip art, {}",
  "{} as a sticker",
  "the symbol {}, drawn by hand",
  "a flat drawing of {}",
  "this is {}.",
  "a message with {}",
  "look at this {}",
  "a sign that shows {}",
  "{} on white",
  "the artist's {}",
  "my {}",
  "{}",
)
# Set of prompts -> prompts of a class: its name alone, one, and an ensemble.
PROMPTS: Mapping[str, tuple[str, ...]] = {
  "name": TEMPLATES[-1:],
  "prompt": TEMPLATES[:1],
  "ensemble": TEMPLATES[:8],
}
_HEAD = ((r"txt/.*|log_scale|bias", True), (r".*", False))
# Rate of the classifier, and its factor for the head: the head begins with
# zeros and reads embeddings of length 1, so that its weights must become large.
_LABELS_RATE, _HEAD_MULT = 1e-3, 64.0


def get_config(arg: str = "pairs") -> ml_collections.ConfigDict:
  """Return the widest towers with the most pairs, or drawings with labels.

  Raises:
    ValueError: no variant has this name.
  """
  held_out = ("test", "style")
  set_kind, splits = variants.pick(
    __file__,
    arg,
    {
      "pairs": (_set_pairs, held_out),
      "classes": (_set_classes, held_out),
      "pairs_val": (_set_pairs, ("val",)),
      "classes_val": (_set_classes, ("val",)),
    },
  )
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, BATCH_SIZE)
  config.optimizer.learning_rate = 2e-3
  config.data.num_tokens = 24
  set_kind(config, splits)
  return config


def sized(
  width: int, num_examples: int, prefix: str, batch_size: int = BATCH_SIZE
) -> dict[str, Any]:
  """Return the fields of a trial's size, their names behind a prefix."""
  sizes = {"width": width, "num_heads": WIDTHS[width], "mlp_width": 4 * width}
  fields = {
    **{
      f"model.{tower}.{field}": value
      for tower in ("image", "text")
      for field, value in sizes.items()
    },
    "model.embed_dim": width,
    **emoji_run.length_changes(num_examples, batch_size),
  }
  return {f"{prefix}{field}": value for field, value in fields.items()}


def _set_pairs(
  config: ml_collections.ConfigDict, splits: tuple[str, ...]
) -> None:
  config.data.sources.main = _table("pairs")
  config.data.sources.main.caption = ("caption", "tags")
  config.data.sources.main.templates = TEMPLATES
  config.loss.name = "softmax"
  config.model.scale_init = 1 / 0.07
  config.model.bias_init = 0.0
  config.evaluate.sets = ml_collections.ConfigDict(
    {
      f"{split}_{name}": _labelled(
        split,
        prompts=tuple(prompt.format("{c}") for prompt in prompts),
        # Probes read images alone, so that one of the sets is enough.
        training=f"{FOLDER}/shots.jsonl" if name == "ensemble" else "",
      )
      for split in splits
      for name, prompts in PROMPTS.items()
    }
  )


def _set_classes(
  config: ml_collections.ConfigDict, splits: tuple[str, ...]
) -> None:
  config.data.sources.main = _table("shots")
  config.data.sources.main.caption = ("class",)
  emoji_run.set_examples(config, NUM_EXAMPLES, LABELS_BATCH_SIZE)
  config.loss.name = "classes"
  config.model.head.classes = labels.CLASSES
  config.optimizer.freeze = _HEAD
  config.optimizer.learning_rate = _LABELS_RATE
  config.optimizer.learning_rate_mults = (
    (r"head/.*", _HEAD_MULT),
    (r".*", 1.0),
  )
  config.evaluate.sets = ml_collections.ConfigDict(
    {split: _labelled(split, head=True) for split in splits}
  )


def _table(name: str) -> ml_collections.ConfigDict:
  return sources.source(
    format="table",
    path=f"{FOLDER}/{name}.jsonl",
    image_root=emoji_run.FOLDER,
  )


def _labelled(split: str, **fields: Any) -> dict[str, Any]:
  return kinds.classification(
    _table(split).to_dict(),
    label="class",
    classes=f"{FOLDER}/classes.txt",
    **fields,
  )
