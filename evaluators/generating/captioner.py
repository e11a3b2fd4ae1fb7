"""Captioner: a run's image tower and the decoder that learned beside it.

It writes captions of pictures, boxes for texts and texts for boxes, the tasks
of input_pipeline/regions. One program of a batch's size serves all three: the
ids that a task gives are forced at their places. CoCa's captioner, which reads
the text tower's tokens too, writes captions alone.

Shape letters beside those of models/layers.py: b pictures of a batch, r texts
of a search, one or several for each picture, L ids with the task's, V ids of
the decoder's vocabulary.
"""

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from evaluators import embedding, embedding_cache, row_batches
from evaluators.generating import decoders
from evaluators.generating import settings as settings_lib
from input_pipeline import model_inputs, tokenizers
from input_pipeline.regions import box_tokens, region_targets
from models import dual_encoder
from models.decoding import beams, generation
from runtime import mesh as mesh_lib

# Place of an id that the decoder chooses.
_FREE = -1


@dataclasses.dataclass(frozen=True)
class Request:
  """Picture with the task that it is written for.

  Attributes:
    image: picture, as the model's image protocol prepares it.
    given: ids that the decoder reads, the task's first.
    most: most ids that it writes, the end included; None for the most of the
      settings.
  """

  image: row_batches.Row
  given: Sequence[int]
  most: int | None = None


@dataclasses.dataclass(frozen=True)
class Written:
  """Ids that the decoder wrote for a request.

  Attributes:
    ids: ids behind the given ones, without the end.
    is_whole: whether the decoder ended it; else it was cut off.
  """

  ids: tuple[int, ...]
  is_whole: bool


@dataclasses.dataclass(frozen=True)
class Caption:
  """Text of written ids.

  Attributes:
    text: text, without blanks at its ends; it may be empty.
    num_dropped: ids that are no text, such as places of boxes and padding, left
      out of it.
    is_whole: as of Written.
  """

  text: str
  num_dropped: int
  is_whole: bool


class Captioner:
  """Writer of texts and boxes about pictures.

  Attributes:
    model: model whose image tower it reads.
    decoder: decoder beside it.
    batch_size: pictures of a batch.
  """

  def __init__(
    self, model: decoders.Towers, decoder: decoders.Decoder, batch_size: int
  ):
    """Take a run's model and decoder.

    Args:
      model: model of a run.
      decoder: decoder of the same checkpoint.
      batch_size: pictures of a batch, raised to a multiple of the devices.
    """
    shards = mesh_lib.num_batch_shards(model.mesh)
    self.batch_size = -(-batch_size // shards) * shards
    self.decoder = decoder
    self.model = model
    self._programs: dict[settings_lib.Settings, Callable[..., Any]] = {}

  def of_params(self, params: Any, decoder_params: Any) -> Self:
    """Return the captioner of other parameters; compiled programs are shared.

    Args:
      params: parameters of the towers.
      decoder_params: parameters of the decoder.
    """
    other = copy.copy(self)
    other.model = decoders.TrainedTowers(
      self.model.config,
      params,
      self.model.mesh,
      self.model.make_image_protocol,
      self.model.make_tokenizer,
    )
    other.decoder = dataclasses.replace(self.decoder, params=decoder_params)
    # Cached: that of the parameters before.
    other.__dict__.pop("digest", None)
    return other

  @property
  def tasks(self) -> tuple[str, ...]:
    """Tasks that it can write, of box_tokens.TASKS."""
    if self.decoder.is_coca and self.tokenizer.rule.bos_id is None:
      return ()
    return self.decoder.tasks

  @property
  def vocabulary(self) -> box_tokens.Vocabulary:
    """Ids of texts, boxes and tasks."""
    return self.decoder.vocabulary

  @functools.cached_property
  def image_protocol(self) -> model_inputs.Protocol:
    """Rules by which pictures are prepared."""
    return self.model.make_image_protocol()

  @functools.cached_property
  def tokenizer(self) -> tokenizers.Tokenizer:
    """Tokenizer of the run."""
    return self.model.make_tokenizer()

  @functools.cached_property
  def digest(self) -> str:
    """Digest of the decoder's weights and config."""
    return embedding_cache.model_digest(
      self.decoder.config, self.decoder.params
    )

  @property
  def end_id(self) -> int:
    """Id that ends a text."""
    end_id = self.tokenizer.eos_id
    assert end_id is not None  # data.regions needs one
    return end_id

  def captioning(self, image: row_batches.Row) -> Request:
    """Return the request for a caption of a picture.

    Raises:
      ValueError: CoCa's tokenizer has no beginning of text: the first id of a
        caption, which nothing predicts, would be one of its words.
    """
    if not self.decoder.is_coca:
      return Request(image, [self.vocabulary.task_id(box_tokens.CAPTION)])
    begin_id = self.tokenizer.rule.bos_id
    if begin_id is None:
      raise ValueError(
        "a captioner (config.captioning) needs a tokenizer with a beginning of"
        " text, as CLIP's has, to begin a caption; got one without"
      )
    return Request(image, [begin_id])

  def referring(self, image: row_batches.Row, text: str) -> Request:
    """Return the request for the box of a text.

    A text that is too long loses its end, as in training.

    Raises:
      ValueError: the decoder is CoCa's captioner.
    """
    self._check_boxes()
    # The box and its end follow.
    room = self.decoder.num_tokens - box_tokens.NUM_SIDES - 1
    task = self.vocabulary.task_id(box_tokens.REFERRING)
    ids = self.tokenizer.ids(text)[:room]
    return Request(image, [task, *ids], box_tokens.NUM_SIDES)

  def grounded(self, image: row_batches.Row, share_4: np.ndarray) -> Request:
    """Return the request for the text of a box; raises as `referring`.

    Args:
      image: picture.
      share_4: box in shares of the image.
    """
    self._check_boxes()
    task = self.vocabulary.task_id(box_tokens.GROUNDED)
    return Request(image, [task, *self.vocabulary.box_ids(share_4).tolist()])

  def asking(self, image: row_batches.Row, question: str) -> Request:
    """Return the request for the answer to a question about a picture.

    A question that is too long loses its end, as in training.

    Raises:
      ValueError: the decoder learned no answers.
    """
    if box_tokens.ANSWER not in self.decoder.tasks:
      raise ValueError(
        "the decoder learned no answers to questions; expected a run with"
        " config.data.regions.answers=True, and got one with the tasks"
        f" {', '.join(self.decoder.tasks)}"
      )
    task = self.vocabulary.task_id(box_tokens.ANSWER)
    room = region_targets.question_room(self.decoder.num_tokens)
    ids = self.tokenizer.ids(question)[:room]
    # The answer has the places that the question leaves, as in training.
    most = self.decoder.num_tokens - len(ids) - 1
    return Request(image, [task, *ids, task], most)

  def caption_of(self, written: Written) -> Caption:
    """Return the text of a caption or an answer."""
    size, marks = self.tokenizer.vocab_size, self.tokenizer.marks
    ids = [x for x in written.ids if x < size and x not in marks]
    text = self.tokenizer.codec.decode(ids).strip()
    return Caption(text, len(written.ids) - len(ids), written.is_whole)

  def box_of(self, written: Written) -> np.ndarray | None:
    """Return the box in shares of the image, None where the ids are none."""
    if len(written.ids) != box_tokens.NUM_SIDES:
      return None
    box_4, is_box = self.vocabulary.boxes(np.array(written.ids))
    return box_4 if is_box else None

  def stream(
    self, requests: Iterator[Request], settings: settings_lib.Settings
  ) -> Iterator[list[Written]]:
    """Yield what the decoder writes, batch by batch, in order.

    Args:
      requests: fetched one batch ahead of the devices.
      settings: settings of generation. The number of a request within this
        call is part of the key of its draws.

    Raises:
      ValueError: a setting cannot be used.
    """
    settings.check(self.decoder.num_tokens)
    program = self._program(settings)
    numbers = itertools.count()
    ahead = None
    while some := [*itertools.islice(requests, self.batch_size)]:
      made = self._start(program, some, settings, numbers)
      if ahead is not None:
        yield self._end(*ahead, settings)
      ahead = some, made
    if ahead is not None:
      yield self._end(*ahead, settings)

  def _check_boxes(self) -> None:
    if self.decoder.is_coca:
      raise ValueError(
        "a captioner (config.captioning) writes captions alone; boxes need a"
        " run with config.decoding.weight above 0"
      )

  def _start(
    self,
    program: Callable[..., Any],
    some: list[Request],
    settings: settings_lib.Settings,
    numbers: Iterator[int],
  ) -> Any:
    """Return the arrays of a batch, which are not computed yet."""
    images = next(row_batches.batches(iter([x.image for x in some]), len(some)))
    given_bL = np.stack([self._given(x, settings) for x in some])
    number_b = np.array([next(numbers) for _ in some], np.int32)
    mesh = self.model.mesh
    sharding = mesh_lib.batch_sharding(mesh)
    rows = jax.tree.map(
      lambda x: embedding.to_global(self._padded(np.asarray(x)), sharding),
      (images, given_bL, number_b),
    )
    seed = embedding.to_global(
      np.asarray(settings.seed, np.int32), mesh_lib.replicated(mesh)
    )
    with jax.set_mesh(mesh):
      return program(self.model.params, self.decoder.params, *rows, seed)

  def _end(
    self, some: list[Request], made: Any, settings: settings_lib.Settings
  ) -> list[Written]:
    """Return what was written for the requests of a batch."""
    tokens_bL, length_b = jax.device_get(made)
    found = []
    # Rows behind those of the requests fill the batch up.
    for request, tokens_L, length in zip(
      some, tokens_bL, length_b, strict=False
    ):
      start = len(request.given)
      stop = min(length, start + self._most(request, settings))
      ids = tokens_L[start:stop].tolist()
      is_whole = bool(ids) and ids[-1] == self.end_id
      found.append(Written(tuple(ids[:-1] if is_whole else ids), is_whole))
    return found

  def _given(
    self, request: Request, settings: settings_lib.Settings
  ) -> np.ndarray:
    """Return the ids that are forced, int32 [L]; _FREE for the others."""
    given_L = np.full(1 + self.decoder.num_tokens, _FREE, np.int32)
    start = len(request.given)
    given_L[:start] = request.given
    # An end is forced behind the last id that is wanted.
    given_L[start + self._most(request, settings) :] = self.end_id
    return given_L

  def _most(self, request: Request, settings: settings_lib.Settings) -> int:
    """Return the most ids that are written for a request."""
    if request.most is not None:
      return request.most
    return settings.max_tokens or self.decoder.num_tokens

  def _padded(self, rows: np.ndarray) -> np.ndarray:
    """Return rows of a whole batch: copies of the last one are added."""
    missing = self.batch_size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])

  def _program(self, settings: settings_lib.Settings) -> Callable[..., Any]:
    # Ends are forced, and seeds given: all lengths and seeds have one program.
    key = dataclasses.replace(settings, max_tokens=None, seed=0)
    if key not in self._programs:
      ending = generation.Ending(
        max_length=1 + self.decoder.num_tokens,
        end_id=self.end_id,
        pad_id=self.tokenizer.pad_id,
      )
      self._programs[key] = jax.jit(
        _make_fn(self.model.config, self.decoder, ending, key),
        out_shardings=mesh_lib.replicated(self.model.mesh),
      )
    return self._programs[key]


def _make_fn(
  config: dual_encoder.ModelConfig,
  own: decoders.Decoder,
  ending: generation.Ending,
  settings: settings_lib.Settings,
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """Return write(params, decoder_params, images, given_bL, number_b, seed).

  It returns the tokens of texts, int32 [b, L], and their lengths, int32 [b].
  """
  graph = dual_encoder.make_graph(config, mesh_lib.BATCH_AXES)
  num_beams = settings.num_beams

  def write(params, decoder_params, images, given_bL, number_b, seed):
    model = dual_encoder.merge(graph, params)
    decoder: Any = nnx.merge(own.graph, decoder_params)
    given_rL = jnp.repeat(given_bL, num_beams, axis=0)
    make_step = decoders.coca_step if own.is_coca else decoders.decoder_step
    # The last id is not read.
    step, cache = make_step(
      model, decoder, images, (len(given_rL), ending.max_length - 1)
    )
    step = _forced(step, given_rL)
    prompt_b1 = given_bL[:, :1]
    if num_beams > 1:
      texts = beams.search(
        step, cache, prompt_b1, ending, beams.BeamConfig(num_beams)
      )
    elif settings.top_p is not None:
      key = jax.random.key(seed)
      keys_b = jax.vmap(functools.partial(jax.random.fold_in, key))(number_b)
      texts = generation.nucleus(
        step, cache, prompt_b1, ending, keys_b=keys_b, top_p=settings.top_p
      )
    else:
      texts = generation.greedy(step, cache, prompt_b1, ending)
    return texts.tokens_bL, texts.length_b

  return write


def _forced(step: generation.Step, given_rL: jax.Array) -> generation.Step:
  """Return a step whose next id is the given one, where there is one."""

  def forced(cache, token_r, position):
    logits_rV, cache = step(cache, token_r, position)
    next_r1 = jax.lax.dynamic_slice_in_dim(given_rL, position + 1, 1, axis=1)
    is_next_rV = jnp.arange(logits_rV.shape[1]) == next_r1
    only_rV = jnp.where(is_next_rV, 0.0, -jnp.inf)
    return jnp.where(next_r1 == _FREE, logits_rV, only_rV), cache

  return forced
