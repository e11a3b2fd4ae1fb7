"""PubMedCLIP, stage B: answers to questions about medical images (2112.13906).

  rad_mevf   VQA-RAD, MEVF-BAN: one head, LSTM, 2 glimpses
  rad_qcr slake_qcr
             VQA-RAD, SLAKE (English), QCR: routed heads, GRU, 10 glimpses
  mini       QCR, small, on composed icons (synthetic)
  autoencoder mini_autoencoder
             MEVF's autoencoder alone, on images without questions; of mini, on
             those of composed icons. Others read it by
             --config.vqa.autoencoder_from=WORKDIR
  rad_router slake_router mini_router
             QCR's router alone, on the types of the training questions.
             rad_qcr, slake_qcr and mini use it, frozen, by
             --config.vqa.router_from=WORKDIR
Data: --config.vqa.path=FOLDER with the layout of
  input_pipeline/questions/layouts.py; GloVe's glove.6B.300d.txt:
  --config.vqa.glove_path=FILE. For mini:
  python -m experiments.pubmedclip.prepare --out=cache/questions
  For autoencoder: --config.data.sources.main.path=TABLE, or another source; its
  captions are not used.
Image tower: ViT-B/32 at 250 pixels, both sides resized, from the weights of
  stage A or of OpenAI's CLIP: --config.init_from=MODEL.
Recipes: released code of PubMedCLIP (MEVF_PubMedCLIP, QCR_PubMedCLIP). Its
  router is trained before, by Adam at 1e-4 for 200 epochs of batches of 32, as
  in rad_router and slake_router. Without router_from it is trained in the same
  steps as the heads, at a tenth of their rate of 1e-3. The code's pixels are
  not normalised, and its height and width are confused with channels, which is
  not reproduced; nor is dropout in evaluation. It selects the best epoch on
  the test split: --config.vqa.legacy_protocol=True. Of the autoencoder's own
  training that code has the noise, and no script: optimizer, rate, batch and
  steps are this project's.
Command:
  python main.py --task=vqa --config=configs/pubmedclip_vqa.py:rad_qcr \\
    --workdir=runs/rad --config.init_from=MODEL --config.vqa.path=FOLDER \\
    --config.vqa.glove_path=FILE
Hardware: the released code runs on one GPU; not measured here.
Expected: EXPECTED has published figures, none of which was reproduced here;
  mini: experiments/pubmedclip/README.md.
"""

import ml_collections

from configs import base
from configs.parts import clip_towers, mini, variants

# (open, closed, overall) exact match of QCR on VQA-RAD without CLIP, by the
# README of med-vqa. PubMedCLIP's own table was not read.
EXPECTED = {"rad_qcr without CLIP": (0.600, 0.793, 0.716)}


def get_config(arg: str = "rad_qcr") -> ml_collections.ConfigDict:
  """Return a variant."""
  minis = {
    "mini": _mini,
    "mini_autoencoder": _mini_autoencoder,
    "mini_router": _mini_router,
  }
  make = variants.pick(__file__, arg, {**_VARIANTS, **minis})
  config = base.get_config()
  clip_towers.set_vit(config, "B", 32, image_size=250)
  clip_towers.set_model(config, 512, "quick_gelu")
  config.model.scale_max = 0.0
  config.data.image_protocol = "clip_squash"
  config.partition_rules = ((r".*", ()),)
  config.evaluate.batch_size = 64
  _set_adamax(config)
  make(config)
  return config


def _set_adamax(config: ml_collections.ConfigDict) -> None:
  """Set PyTorch's Adamax with its defaults, and the clipping of both codes."""
  optimizer = config.optimizer
  optimizer.name = "adamax"
  optimizer.b1, optimizer.b2, optimizer.epsilon = 0.9, 0.999, 1e-8
  optimizer.weight_decay = 0.0
  optimizer.clip_norm = 0.25
  optimizer.schedule = "constant"
  optimizer.warmup_steps = 0


def _mevf(config: ml_collections.ConfigDict) -> None:
  config.seed = 1204
  config.batch_size = 32
  config.optimizer.learning_rate = 2e-3
  vqa = config.vqa
  vqa.layout = "vqa_rad"
  vqa.num_epochs = 20
  decayed = ((10 + 2 * i, 2 * 0.75 ** (i + 1)) for i in range(5))
  vqa.epoch_factors = ((0, 0.5), (1, 1.0), (2, 1.5), (3, 2.0), *decayed)
  vqa.answer_reduction = "sum"
  vqa.model.kind = "mevf"
  vqa.model.recurrent = "lstm"
  vqa.model.glimpses = 2


def _qcr(config: ml_collections.ConfigDict) -> None:
  config.seed = 88
  config.batch_size = 16
  config.optimizer.learning_rate = 1e-3
  config.optimizer.learning_rate_mults = ((r"router/.*", 0.1), (r".*", 1.0))
  vqa = config.vqa
  vqa.layout = "vqa_rad"
  vqa.num_epochs = 200
  vqa.answer_reduction = "mean"
  vqa.model.kind = "qcr"
  vqa.model.recurrent = "gru"
  vqa.model.glimpses = 10


def _slake_qcr(config: ml_collections.ConfigDict) -> None:
  _qcr(config)
  config.vqa.layout = "slake"


def _mini(config: ml_collections.ConfigDict) -> None:
  """Set small parts; rates, sums and lengths are this project's, no paper's."""
  _qcr(config)
  config.seed = 0
  clip_towers.set_vit(config, "S", 16, image_size=64)
  image = config.model.image
  image.update(mini.TRANSFORMER)
  image.activation = "quick_gelu"
  image.pool = "map"
  config.model.embed_dim = 64
  config.model.dtype = "float32"
  config.batch_size = 64
  config.evaluate.batch_size = 256
  # The tower starts from random numbers, without a warmup.
  config.optimizer.learning_rate = 2e-3
  config.optimizer.learning_rate_mults = ((r"img/.*", 0.5), (r".*", 1.0))
  vqa = config.vqa
  vqa.path = "cache/questions"
  vqa.num_epochs = 12
  vqa.epoch_factors = ((0, 0.5), (1, 1.0), (10, 0.3))
  vqa.answer_reduction = "sum"
  model = vqa.model
  model.width = 96
  model.word_width = 32
  model.glimpses = 2
  model.autoencoder_size = 8


def _rad_router(config: ml_collections.ConfigDict) -> None:
  _qcr(config)
  _set_routing(config)


def _slake_router(config: ml_collections.ConfigDict) -> None:
  _slake_qcr(config)
  _set_routing(config)


def _mini_router(config: ml_collections.ConfigDict) -> None:
  """Set the miniature's sizes and questions; the number of epochs is ours."""
  _mini(config)
  _set_routing(config)
  config.vqa.num_epochs = 20


def _set_routing(config: ml_collections.ConfigDict) -> None:
  """Set the released code's training of the router.

  PyTorch's Adam has its defaults. Schedule and clipping are off: none was
  stated.
  """
  config.vqa.trains = "router"
  config.vqa.num_epochs = 200
  config.vqa.epoch_factors = ()
  config.batch_size = 32
  optimizer = config.optimizer
  # Adam, as its decay is 0.
  optimizer.name = "adamw"
  optimizer.b1, optimizer.b2 = 0.9, 0.999
  optimizer.learning_rate = 1e-4
  optimizer.learning_rate_mults = ((r".*", 1.0),)
  optimizer.clip_norm = 0.0


def _autoencoder(config: ml_collections.ConfigDict) -> None:
  _set_denoising(config, side=128)
  config.batch_size = 64
  config.total_steps = 20_000
  config.evaluate.every_steps = config.checkpoint.every_steps = 1000


def _mini_autoencoder(config: ml_collections.ConfigDict) -> None:
  _set_denoising(config, side=32)
  config.data.sources.main.path = "cache/questions/captions.jsonl"
  config.evaluate.holdout = 0.1
  config.batch_size = 32
  config.total_steps = 300
  config.evaluate.every_steps = config.checkpoint.every_steps = 100


def _set_denoising(config: ml_collections.ConfigDict, side: int) -> None:
  """Set what both sizes of the autoencoder's run have; no paper's numbers."""
  config.vqa.trains = "autoencoder"
  config.vqa.model.autoencoder_size = side
  # Its size is that of data; the tower is not made.
  clip_towers.set_vit(config, "B", side, image_size=side)
  config.data.sources.main.format = "table"
  config.data.augmentation.resize = "squash"
  config.evaluate.holdout = 0.05
  config.optimizer.learning_rate = 1e-3


_VARIANTS = {
  "rad_mevf": _mevf,
  "rad_qcr": _qcr,
  "slake_qcr": _slake_qcr,
  "autoencoder": _autoencoder,
  "rad_router": _rad_router,
  "slake_router": _slake_router,
}
