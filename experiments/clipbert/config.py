"""ClipBERT's miniature: icons that move over photographs (README.md).

pretraining   masked words and matching on single pictures; all others begin
              with it
retrieval qa choices
              sparse: 2 clips of a frame at training, 4 in evaluation
dense         as retrieval, 8 clips at training and in evaluation
sparse_curve dense_curve
              retrieval and dense, judged on validation videos on the way
no_negatives frozen_cnn no_head
              each takes a part away: negatives of retrieval, gradients of the
              CNN in retrieval, and the trained head of qa
"""

import dataclasses
from collections.abc import Mapping

import ml_collections

from configs import clipbert
from configs.parts import sources, variants

_FOLDER = "cache/moving"
_NUM_TOKENS = 28
SIZE = 64
# Shapes, colours and numbers of scenes.py.
_NUM_ANSWERS = 8 + 6 + 2
_QA = (
  ("question", "question"),
  ("answer", "answer"),
  ("answer_type", "answer_type"),
)
_CHOICES = (
  ("question", "question"),
  ("answer", "answer"),
  ("options", "options"),
)


@dataclasses.dataclass(frozen=True)
class Variant:
  """A run on videos.

  Attributes:
    mini: variant of configs/clipbert.py.
    layout: layout of train and test.
    clips: clips of a video in training.
    steps: steps of training.
    every_steps: steps between two evaluations on the validation videos, which
      are judged in place of the test; 0: the test, at the end.
  """

  mini: str = "mini_retrieval"
  layout: str = "msrvtt.captions"
  clips: int = 2
  steps: int = 500
  every_steps: int = 0


VARIANTS: Mapping[str, Variant] = {
  "retrieval": Variant(),
  # As many clips as the 500 steps of "retrieval" see.
  "dense": Variant(clips=8, steps=125),
  "sparse_curve": Variant(every_steps=50),
  "dense_curve": Variant(clips=8, steps=400, every_steps=50),
  "no_negatives": Variant(),
  "frozen_cnn": Variant(),
  "qa": Variant("mini_qa", "msrvtt.qa", steps=700),
  "no_head": Variant("mini_qa", "msrvtt.qa", steps=700),
  "choices": Variant("mini_qa", "tgif_qa.action", steps=400),
}


def get_config(arg: str = "retrieval") -> ml_collections.ConfigDict:
  """Return a variant."""
  if arg == "pretraining":
    return _pretraining()
  variant = variants.pick(__file__, arg, VARIANTS)
  config = _common(variant.mini)
  config.init_from = "runs/clipbert_pretraining"
  config.total_steps = variant.steps
  config.batch_size = 32
  config.optimizer.learning_rate = 5e-4
  data, fusion = config.data, config.fusion
  data.video.update({"clips": variant.clips, "frames": 1, "fps": 8.0})
  fusion.test_clips = max(4, variant.clips)
  fields: tuple[tuple[str, str], ...] = ()
  if variant.layout == "msrvtt.qa":
    fields, fusion.num_answers = _QA, _NUM_ANSWERS
  if variant.layout == "tgif_qa.action":
    fields, fusion.task = _CHOICES, "choices"
  layout = {
    "format": "layout",
    "layout": variant.layout,
    "path": _FOLDER,
    "question_fields": fields,
  }
  train = "train_7k" if variant.layout == "msrvtt.captions" else "train"
  data.sources.main = sources.source(**layout, split=train)
  if variant.every_steps:
    path = f"{_FOLDER}/validate.jsonl"
    data.tests.validate = sources.source(format="table", path=path)
    config.evaluate.every_steps = variant.every_steps
  else:
    data.tests.test = sources.source(**layout, split="test")
  if arg == "no_negatives":
    fusion.num_negatives = 0
  kept = {"frozen_cnn": r"cnn/.*", "no_head": r"answers/.*"}.get(arg)
  if kept is not None:
    config.optimizer.freeze = ((kept, True), *config.optimizer.freeze)
  return config


def _pretraining() -> ml_collections.ConfigDict:
  config = _common("mini_pretraining")
  config.total_steps = 2400
  config.batch_size = 64
  config.optimizer.learning_rate = 1e-3
  # Texts have three or four words: each is to be told from the picture.
  config.fusion.mask_share = 0.8
  config.fusion.negative_share = 0.25
  # There is one cell of 64 pixels.
  config.fusion.clipbert.sampled_cells = 0
  config.data.sources.main = sources.source(
    format="table", path=f"{_FOLDER}/pairs.jsonl"
  )
  return config


def _common(mini: str) -> ml_collections.ConfigDict:
  config = clipbert.get_config(mini)
  data, model = config.data, config.model
  data.image_size = model.image.image_size = SIZE
  data.num_tokens = model.text.num_tokens = _NUM_TOKENS
  data.augmentation.resize = "squash"
  data.augmentation.flip_probability = 0.0
  data.tokenizer = "bpe"
  data.vocab_size = model.text.vocab_size = 512
  # The last id, which the trained vocabulary does not reach.
  config.fusion.mask_id = data.vocab_size - 1
  config.fusion.cnn.width = 16
  config.fusion.cnn.frozen_norm = False
  config.optimizer.warmup_steps = 50
  config.evaluate.every_steps = 0
  config.evaluate.batch_size = 50
  config.checkpoint.every_steps = 500
  config.log_every_steps = 20
  return config
