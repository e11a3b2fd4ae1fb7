"""METER on Florence's tower in miniature: icons over photographs (README.md).

  towers        CoSwin and a BERT by UniCL's loss, on pictures and captions:
                main.py without --task; the others are for --task=fuse
  pretraining   METER on these towers: masked words and matching
  vqa           questions about pictures, from the run of pretraining
  towers_vqa    the same from the towers alone, without pre-training
Data: python -m experiments.florence.fusion.prepare. Every number is this
  project's.
"""

import ml_collections

from configs import base, meter
from configs.parts import sources, towers, variants
from experiments.clipbert import scenes

_FOLDER = "cache/asked"
_RUNS = "runs/asked_"
_PIXELS = 64
_NUM_TOKENS = 28
_ASKED = (
  ("question", "question"),
  ("answer", "answer"),
  ("answers", "answers"),
  ("answer_type", "answer_type"),
)
# Variant -> run to begin with, and whether it is one of --task=fuse.
_VQA = {"vqa": ("pretraining", True), "towers_vqa": ("towers", False)}
VARIANTS = ("towers", "pretraining", *_VQA)


def get_config(arg: str = "vqa") -> ml_collections.ConfigDict:
  """Return a variant; ValueError where none has this name."""
  variants.pick(__file__, arg, dict.fromkeys(VARIANTS))
  if arg == "towers":
    config = base.get_config()
    _set_common(config)
    config.data.sources.main = _table("train")
    config.evaluate.sets = ml_collections.ConfigDict()
    config.loss.name = "unicl"
    config.model.bias_init = 0.0
    config.batch_size, config.total_steps = 64, 400
    config.optimizer.learning_rate = 1e-3
    return config
  is_vqa = arg in _VQA
  config = meter.get_config("mini_vqa" if is_vqa else "mini_pretraining")
  _set_common(config)
  config.fusion.mask_id = config.data.vocab_size - 1
  config.batch_size = 64
  run, is_fused = _VQA.get(arg, ("towers", False))
  if is_fused:
    config.init_from = f"{_RUNS}{run}"
  else:
    config.init_image_from = config.init_text_from = f"{_RUNS}{run}"
  config.optimizer.learning_rate = 5e-4
  if is_vqa:
    config.total_steps = 400
    config.fusion.num_answers = sum(
      map(len, (scenes.SHAPES, scenes.COLORS, scenes.COUNTS))
    )
    config.data.sources.main = _table("train_questions", _ASKED)
    config.data.tests.test = _table("test_questions", _ASKED)
  else:
    config.total_steps = 400
    # Texts have three or four words: each is to be told from the picture.
    config.fusion.mask_share = 0.5
    config.data.sources.main = _table("train")
    config.data.tests.validate = _table("validate")
  return config


def _set_common(config: ml_collections.ConfigDict) -> None:
  """Set images, texts and towers, the same in all runs."""
  data, model = config.data, config.model
  data.image_size, data.num_tokens = _PIXELS, _NUM_TOKENS
  data.tokenizer, data.vocab_size = "bpe", 512
  data.augmentation.resize = "squash"
  data.augmentation.flip_probability = 0.0
  model.dtype = "float32"
  model.embed_dim = 64
  image = model.image = towers.swin(data)
  image.embedding = image.merging = "conv"
  image.widths, image.depths = (32, 64, 128), (2, 2, 2)
  image.num_heads, image.windows = (2, 4, 8), (4, 4, 4)
  image.drop_path = 0.0
  text = model.text = towers.bert(data)
  text.width, text.depth, text.num_heads, text.mlp_width = 64, 2, 4, 256
  config.optimizer.warmup_steps = 50
  config.checkpoint.every_steps = 400
  config.evaluate.every_steps = 0
  config.evaluate.batch_size = 50
  config.log_every_steps = 20


def _table(name: str, fields: tuple = ()) -> ml_collections.ConfigDict:
  return sources.source(
    format="table", path=f"{_FOLDER}/{name}.jsonl", question_fields=fields
  )
