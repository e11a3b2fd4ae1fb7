"""METER (arXiv 2111.02387) on Florence's tower (arXiv 2111.11432, section 2.6).

  florence_pretraining  masked words and matching, CoSwin-H at 384 px
  florence_vqa          soft scores of 3,129 answers (VQA v2), the same tower
  mini_pretraining mini_vqa
                        small towers, from initial weights
Data: pre-training: 14 M images with 20 M captions (COCO, CC3M, CC12M, SBU,
  Visual Genome), as any source of pairs; vqa: VQA v2's files and COCO's
  pictures: --config.data.sources.main.path=FOLDER and
  --config.data.tests.test.path=FOLDER.
Initial weights: towers of a run of configs/florence.py and of a BERT for
  pre-training, --config.init_image_from=RUN --config.init_text_from=BERT; its
  run for vqa, --config.init_from=RUN.
Recipe: two stacks of 6 layers of co-attention, width 768, 12 heads; 15 % of the
  words masked; 43 epochs of pre-training, without decay of the embeddings of
  texts and of modalities; 10 epochs of VQA at a rate of 8e-6.
Ours, as the papers leave them out: batch sizes, all other rates and schedules,
  BERT-base in place of their RoBERTa, dimensions of CoSwin-H
  (configs/florence.py), pooling of the image by its mean.
Command:
  python main.py --task=fuse --config=configs/meter.py:florence_vqa \\
    --workdir=runs/florence_vqa --config.init_from=runs/florence_meter \\
    --config.data.sources.main.path=VQA --config.data.tests.test.path=VQA
Hardware: not stated; not run here.
Expected: not yet run. Florence's VQA v2: 80.16 test-dev, 80.36 test-std (its
  table 8), by the server's accuracy, which is lower than results.json's
  (evaluators/metrics/questions.py), and another split than val.
"""

import ml_collections

from configs import base, florence
from configs.parts import mini, sources, tower_sizes, towers, variants

BATCH_SIZE = 1024
NUM_ANSWERS = 3_129
# Rows of an epoch: captions of pre-training; questions of VQA v2's train split.
EXAMPLES = {"pretraining": 20_000_000, "vqa": 443_757}
_EPOCHS = {"pretraining": 43, "vqa": 10}
_IMAGE_SIZE = 384
_NUM_TOKENS = 50
_POSITIONS = 512
VARIANTS = {"florence_pretraining": "pretraining", "florence_vqa": "vqa"}
_MINIS = {"mini_pretraining": "pretraining", "mini_vqa": "vqa"}
_ASKED = (
  ("question", "question"),
  ("answer", "answer"),
  ("answers", "answers"),
  ("answer_type", "answer_type"),
)


def get_config(arg: str = "florence_vqa") -> ml_collections.ConfigDict:
  """Return a variant; ValueError where none has this name."""
  if arg in _MINIS:
    return _mini(_MINIS[arg])
  task = variants.pick(__file__, arg, VARIANTS | _MINIS)
  config = base.get_config()
  data, model = config.data, config.model
  data.image_size, data.num_tokens = _IMAGE_SIZE, _NUM_TOKENS
  data.tokenizer, data.vocab_size = "wordpiece", 30_522
  _set_fusion(config, task)
  model.image = towers.swin(data)
  model.image.update(florence.VARIANTS["coswin_h"])
  model.text.update(tower_sizes.BERT["base"])
  model.text.dropout = 0.1
  model.text.num_tokens = _POSITIONS
  model.embed_dim = model.text.width
  model.remat = "block"
  config.partition_rules = (
    *towers.SWIN_PARTITION_RULES,
    *config.partition_rules,
  )
  config.batch_size = BATCH_SIZE
  config.total_steps = _EPOCHS[task] * EXAMPLES[task] // BATCH_SIZE
  optimizer = config.optimizer
  optimizer.schedule = "linear"
  optimizer.warmup_steps = config.total_steps // 10
  optimizer.learning_rate = 8e-6 if task == "vqa" else 1e-5
  optimizer.weight_decay = 0.01
  optimizer.weight_decay_mults = (
    (r".*(token_embedding|modality|position|bias|scale)", 0.0),
    (r".*", 1.0),
  )
  if task == "vqa":
    layout = {"format": "layout", "layout": "vqa.v2", "question_fields": _ASKED}
    data.sources.main = sources.source(**layout, split="train")
    data.tests.test = sources.source(**layout, split="val")
    config.fusion.num_answers = NUM_ANSWERS
  return config


def _set_fusion(config: ml_collections.ConfigDict, task: str) -> None:
  """Set what all sizes have."""
  config.evaluate.sets = ml_collections.ConfigDict()
  config.evaluate.every_steps = 0
  config.evaluate.batch_size = 32
  config.fusion.kind, config.fusion.task = "meter", task
  config.model.text = towers.bert(config.data)
  config.model.scale_max = 0.0


def _mini(task: str) -> ml_collections.ConfigDict:
  """Return small towers; sizes, rates and lengths are ours, no paper's."""
  config = base.get_config()
  config.batch_size = 32
  config.total_steps = 300
  data, model, fusion = config.data, config.model, config.fusion
  data.image_size, data.num_tokens = 32, 32
  data.tokenizer, data.vocab_size = "bytes", 264
  _set_fusion(config, task)
  model.dtype = "float32"
  model.embed_dim = 64
  model.image = towers.vit(data)
  for tower in (model.image, model.text):
    tower.update(mini.TRANSFORMER)
  fusion.mask_id, fusion.kept_ids = data.vocab_size - 1, (0, 1)
  fusion.meter.update({"depth": 2, "width": 64, "num_heads": 4})
  if task == "vqa":
    fusion.num_answers = 8
  config.optimizer.warmup_steps = 30
  return config
