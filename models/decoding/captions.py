"""Captions by CoCa: text tower and captioner, one token after another.

A step runs the new token of each text through the text tower's layers, then
through the captioner's, with keys and values of earlier tokens kept. Keys of
the image are made once, for all beams of an image.

Source: open_clip 3.3.0, whose CoCa computes each text anew for each token;
`write` returns the same tokens.

Shape letters beside those of models/layers.py: r rows of generated texts, one
or several for each image.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models import dual_encoder, layers, stack, text_transformer, vit
from models.decoding import beams, generation
from models.decoding import captioner as captioner_lib

# Arrays by name, texts on axis 1: ids of the tokens so far, int32 [1, r, L];
# keys and values of both stacks, [depth, r, H, L, K] each.
Cache = dict[str, jax.Array]
# Keys and values of images, [depth, b, H, N, K] each.
Images = tuple[jax.Array, jax.Array]

_TEXT, _CAPTIONER = "text", "captioner"
# Names of keys and values in a cache.
_PARTS = ("key", "value")


def write(
  model: dual_encoder.DualEncoder,
  captioner: captioner_lib.Captioner,
  images_bYXC: jax.Array,
  ending: generation.Ending,
  *,
  begin_id: int,
  num_beams: int = 1,
) -> generation.Texts:
  """Return a caption of each image, as open_clip's `generate` does.

  Args:
    model: image tower that pools with queries, and a causal text tower with a
      cls token.
    captioner: captioner of the same model.
    images_bYXC: uint8, [b, image_size, image_size, 3].
    ending: rules that end a text; open_clip has max_length 30 (seq_len) and
      min_length 5.
    begin_id: first token of each text.
    num_beams: 1 takes the most probable token at each place, as "top_k" with
      top_k=1; more are those of one search. open_clip's num_beams=6 with
      num_beam_groups=3 is three searches with the same result: 2 here.

  Raises:
    ValueError: the towers are others, or lengths do not fit.
  """
  image, text = model.img, model.txt
  if not isinstance(image, vit.ViT) or not isinstance(
    text, text_transformer.TextTransformer
  ):
    raise ValueError(
      "captions need a Vision Transformer and a text transformer; got"
      f" {type(image).__name__} and {type(text).__name__}"
    )
  _, image_bND = image.embedding_and_queries(images_bYXC)
  step_fn = functools.partial(
    step, text, captioner, image_keys(captioner, image_bND)
  )
  b, length = len(image_bND), ending.max_length
  prompt_b1 = jnp.full((b, 1), begin_id, jnp.int32)
  cache = empty_cache(text, captioner, b * num_beams, length)
  if num_beams == 1:
    return generation.greedy(
      step_fn, cache, prompt_b1, ending, closes=True, stops_at_pad=True
    )
  config = beams.BeamConfig(num_beams, counts_prompt=True, normalises=False)
  return beams.search(step_fn, cache, prompt_b1, ending, config)


def image_keys(
  captioner: captioner_lib.Captioner, image_bND: jax.Array
) -> Images:
  """Return the images' keys and values of all layers.

  Args:
    captioner: captioner that reads them.
    image_bND: tokens of `vit.ViT.embedding_and_queries`.
  """
  image_bND = image_bND.astype(captioner.settings.dtype)

  def of_layer(block: captioner_lib.CaptionerBlock) -> Images:
    return block.image.keys_values(image_bND)

  apart: Any = stack.apart_of(captioner.blocks)
  if apart is None:
    return jax.lax.map(of_layer, captioner.blocks)
  keys, values = zip(*map(of_layer, apart), strict=True)
  return jnp.stack(keys), jnp.stack(values)


def empty_cache(
  text: text_transformer.TextTransformer,
  captioner: captioner_lib.Captioner,
  num_rows: int,
  length: int,
) -> Cache:
  """Return a cache of texts without tokens.

  Args:
    text: text tower.
    captioner: captioner that reads its tokens.
    num_rows: number of texts.
    length: most tokens of a text.

  Raises:
    ValueError: the text tower cannot feed a captioner, or a text would be
      longer than it or the captioner allows.
  """
  text_transformer.check_captioning(text.config)
  captioner.check_length(length)
  if length > text.config.num_tokens:
    raise ValueError(
      "texts must have at most"
      f" model.text.num_tokens={text.config.num_tokens} tokens; got {length}"
    )
  pad_id = text.config.pad_id
  cache = {"tokens": jnp.full((1, num_rows, length), pad_id, jnp.int32)}
  for name, module in ((_TEXT, text), (_CAPTIONER, captioner)):
    config = module.config
    heads = config.num_heads
    shape = (config.depth, num_rows, heads, length, config.width // heads)
    zeros = jnp.zeros(shape, module.settings.dtype)
    cache |= {f"{name}_{part}": zeros for part in _PARTS}
  return cache


def step(
  text: text_transformer.TextTransformer,
  captioner: captioner_lib.Captioner,
  images: Images,
  cache: Cache,
  token_r: jax.Array,
  position: jax.Array,
) -> tuple[jax.Array, Cache]:
  """Return the logits of the next tokens, float32 [r, V], and the cache.

  With the first three arguments bound it is a step of generation.py.

  Args:
    text: text tower.
    captioner: captioner that reads its tokens.
    images: result of `image_keys` for b images; texts of an image stand side by
      side, as many for each.
    cache: keys and values of the tokens before.
    token_r: int32 ids of the new tokens.
    position: place of them, the same for all texts.
  """
  tokens_1rL = jax.lax.dynamic_update_slice(
    cache["tokens"], token_r.astype(jnp.int32)[None, :, None], (0, 0, position)
  )
  cache = cache | {"tokens": tokens_1rL}
  length = tokens_1rL.shape[2]
  past_111L = (jnp.arange(length) <= position)[None, None, None]
  mask_r11L = text.key_mask(tokens_1rL[0])
  if mask_r11L is None:
    mask_r11L = past_111L
  else:
    mask_r11L = past_111L & mask_r11L[..., :length]  # not the cls token's

  def read_text(block: Any, state: Any, index: Any) -> Any:
    return _extend(block, _TEXT, state, index, position, mask_r11L)

  def read_both(block: Any, state: Any, index: Any) -> Any:
    x_r1D, cache = _extend(
      block.text, _CAPTIONER, state, index, position, past_111L
    )
    key, value = images
    return block.image.attend_to(x_r1D, key[index], value[index]), cache

  x_r1D = jnp.take(text.token_embedding[...], token_r, axis=0)[:, None]
  x_r1D = x_r1D + text.position[...][position]
  state = (x_r1D.astype(text.settings.dtype), cache)
  state = _through(text.blocks, read_text, state, text.config.depth)
  x_r1D, cache = _through(
    captioner.blocks, read_both, state, captioner.config.depth
  )
  return captioner.logits(captioner.norm(x_r1D))[:, 0], cache


def _through(
  blocks: Any, layer: Callable[..., Any], state: Any, depth: int
) -> Any:
  """Return a state after layer(block, state, index) of each block."""
  apart = stack.apart_of(blocks)
  if apart is None:
    return jax.lax.scan(
      lambda state, at: (layer(at[0], state, at[1]), None),
      state,
      (blocks, jnp.arange(depth)),
    )[0]
  for index, block in enumerate(apart):
    state = layer(block, state, index)
  return state


def _extend(
  block: stack.Block,
  name: str,
  state: tuple[jax.Array, Cache],
  index: int | jax.Array,
  position: jax.Array,
  mask_r11L: jax.Array,
) -> tuple[jax.Array, Cache]:
  """Return one token of each text after a block, and the cache with it."""
  x_r1D, cache = state
  y_r1D = block.attn_norm(x_r1D)
  attn: layers.Attention = block.attn
  for part, x_rH1K in zip(_PARTS, attn.keys_values(y_r1D), strict=True):
    entry = f"{name}_{part}"
    cache = cache | {
      entry: jax.lax.dynamic_update_slice(
        cache[entry], x_rH1K[None], (index, 0, 0, position, 0)
      )
    }
  key, value = (cache[f"{name}_{part}"][index] for part in _PARTS)
  x_r1D = x_r1D + attn.attend_to(y_r1D, key, value, mask_bHSS=mask_r11L)
  return x_r1D + block.mlp(block.mlp_norm(x_r1D)), cache
