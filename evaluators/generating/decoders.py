"""Decoders beside a run's model, and their steps.

LocCa's decoder reads the image tower's tokens before pooling; CoCa's captioner
reads those that the tower's further queries pool, and the text tower's tokens.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
from flax import nnx

from input_pipeline import model_inputs, tokenizers
from input_pipeline.regions import box_tokens
from models import dual_encoder, naflex, text_transformer, vit
from models.decoding import captioner as captioner_lib
from models.decoding import captions, decoder_config, generation


class Towers(Protocol):
  """Model whose images a decoder reads, such as inference.model.Model.

  Attributes:
    config: towers of the model.
    params: parameters of the towers, on the devices of `mesh`.
    mesh: devices.
    make_image_protocol: reads files; raises ValueError where none describes
      how images are prepared.
    make_tokenizer: reads files; raises ValueError without a vocabulary.
  """

  @property
  def config(self) -> dual_encoder.ModelConfig: ...

  @property
  def params(self) -> Any: ...

  @property
  def mesh(self) -> jax.sharding.Mesh: ...

  @property
  def make_image_protocol(self) -> Callable[[], model_inputs.Protocol]: ...

  @property
  def make_tokenizer(self) -> Callable[[], tokenizers.Tokenizer]: ...


@dataclasses.dataclass(frozen=True)
class TrainedTowers:
  """Towers of a run that trains; see Towers."""

  config: dual_encoder.ModelConfig
  params: Any
  mesh: jax.sharding.Mesh
  make_image_protocol: Callable[[], model_inputs.Protocol]
  make_tokenizer: Callable[[], tokenizers.Tokenizer]


@dataclasses.dataclass(frozen=True)
class Decoder:
  """Decoder of texts that learned beside a run's model.

  Attributes:
    config: its shape.
    graph: decoder without its parameters.
    params: on every device of the model's mesh, or split as in training.
    vocabulary: ids of texts, boxes and tasks.
    num_tokens: most ids that it was taught to predict of a text, the end
      included (data.regions.num_tokens).
    tasks: tasks that it was taught, of Vocabulary.tasks.
    is_coca: whether it is CoCa's captioner, which begins a caption with the
      tokenizer's beginning of text in place of a task.
  """

  config: decoder_config.DecoderConfig | captioner_lib.CaptionerConfig
  graph: nnx.GraphDef
  params: Any
  vocabulary: box_tokens.Vocabulary
  num_tokens: int
  tasks: tuple[str, ...] = box_tokens.TASKS
  is_coca: bool = False


def decoder_step(
  model: dual_encoder.DualEncoder,
  decoder: Any,
  images: Any,
  shape: tuple[int, int],
) -> tuple[generation.Step, Any]:
  """Return a step of LocCa's decoder, and a cache of texts and ids."""
  tower: Any = model.img
  _, tokens_bND = tower.embedding_and_tokens(images)
  mask_bN = None
  if isinstance(images, naflex.Patches):
    mask_bN = naflex.real_patches(images)
  step = functools.partial(decoder.step, decoder.images(tokens_bND, mask_bN))
  return step, decoder.empty_cache(*shape)


def coca_step(
  model: dual_encoder.DualEncoder,
  captioner: captioner_lib.Captioner,
  images: Any,
  shape: tuple[int, int],
) -> tuple[generation.Step, Any]:
  """Return a step of CoCa's text tower and captioner, and a cache."""
  image, text = model.img, model.txt
  assert isinstance(image, vit.ViT)  # joint_config.check_captioning
  assert isinstance(text, text_transformer.TextTransformer)
  _, image_bND = image.embedding_and_queries(images)
  keys = captions.image_keys(captioner, image_bND)
  step = functools.partial(captions.step, text, captioner, keys)
  return step, captions.empty_cache(text, captioner, *shape)
