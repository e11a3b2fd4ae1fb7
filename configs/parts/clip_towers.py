"""CLIP's two towers, shared by OpenCLIP, MetaCLIP and DFN."""

from collections.abc import Mapping
from typing import Any

import ml_collections

from configs.parts import mini, tower_sizes, towers

VOCAB_SIZE = 49_408
NUM_TOKENS = 77
# Statistics of the pixels of OpenAI's training images, in its code and in every
# later model (image_processor of the published weights).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def set_vit(
  config: ml_collections.ConfigDict,
  size: str,
  patch_size: int,
  image_size: int = 224,
) -> None:
  """Make the image tower a ViT as CLIP has it; `size` is a key of sizes.VIT."""
  config.data.image_size = image_size
  image = config.model.image = towers.vit(config.data)
  image.update(tower_sizes.VIT[size])
  image.patch_size = patch_size
  image.pool = "cls"
  image.pre_norm = True
  image.norm_epsilon = 1e-5


def set_text(
  config: ml_collections.ConfigDict, fields: Mapping[str, Any]
) -> None:
  """Make the text tower CLIP's causal transformer, with its vocabulary."""
  config.data.tokenizer = "clip"
  config.data.vocab_size = VOCAB_SIZE
  config.data.num_tokens = NUM_TOKENS
  text = config.model.text
  text.update(fields)
  text.causal = True
  text.pool = "eot"
  text.eot_id = VOCAB_SIZE - 1
  text.mask_padding = False
  text.norm_epsilon = 1e-5


def set_model(
  config: ml_collections.ConfigDict, embed_dim: int, activation: str
) -> None:
  """Set the fields common to both towers, and CLIP's softmax loss.

  Source: CLIP (arXiv 2103.00020), section 2.5: a scale initialised to 1 / 0.07
  and kept below 100.
  """
  config.model.embed_dim = embed_dim
  if "activation" in config.model.image:
    config.model.image.activation = activation
  config.model.text.activation = activation
  config.model.image_mean = MEAN
  config.model.image_std = STD
  config.model.scale_init = 1 / 0.07
  config.model.scale_max = 100.0
  config.model.bias_init = 0.0
  config.loss.name = "softmax"


def set_adamw(
  config: ml_collections.ConfigDict,
  *,
  learning_rate: float,
  warmup_steps: int,
  b2: float = 0.98,
  weight_decay: float = 0.2,
) -> None:
  """Set AdamW with a cosine to 0; norms, biases and the scale do not decay.

  Source: CLIP (arXiv 2103.00020), section 2.5 and table 18. open_clip 3.3.0
  draws the line at two dimensions: kernels and the tables of positions and
  tokens decay, the cls token (a vector there) does not.
  """
  config.optimizer.name = "adamw"
  config.optimizer.learning_rate = learning_rate
  config.optimizer.warmup_steps = warmup_steps
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = b2
  config.optimizer.epsilon = 1e-6
  config.optimizer.weight_decay = weight_decay
  config.optimizer.weight_decay_convention = "lr"
  config.optimizer.weight_decay_mults = (
    (r".*/(kernel|position|token_embedding)", 1.0),
    (r".*", 0.0),
  )
  config.optimizer.clip_norm = 0.0


def set_mini(config: ml_collections.ConfigDict, activation: str) -> None:
  """Set CLIP's parts with 64 channels, on emoji."""
  set_adamw(config, learning_rate=1e-3, warmup_steps=10)
  set_vit(config, "S", 8)
  config.model.image.update(mini.TRANSFORMER)
  set_text(config, mini.TRANSFORMER)
  set_model(config, 64, activation)
  mini.shrink(config)
  config.model.text.eot_id = 1  # end of text of the tokenizer "bpe"
