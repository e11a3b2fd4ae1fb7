"""Cutting of a batch of captions to the length of its longest one."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models import dual_encoder, text_transformer
from runtime import checks


def apply(
  fn: Callable[[jax.Array], Any],
  tokens_BL: jax.Array,
  lengths: Sequence[int],
  text: dual_encoder.TextConfig,
) -> Any:
  """Return fn(tokens) with the tokens cut to the shortest length that fits.

  Each length is a branch of one program, chosen on the device: all processes
  take the same branch without communication, and no program is compiled again.

  Args:
    fn: function of int32 [B, l]; the shapes of its result do not depend on l.
    tokens_BL: int32 ids padded at the end.
    lengths: ascending lengths below L; tokens of a longer batch are not cut.
    text: config of the tower that reads the tokens.
  """
  if not lengths:
    return fn(tokens_BL)
  choices = (*lengths, tokens_BL.shape[1])
  # Only a tower that pools the end of text has its id.
  eot_id = getattr(text, "eot_id", None)
  longest = jnp.max(text_transformer.lengths(tokens_BL, text.pad_id, eot_id))
  index = jnp.searchsorted(jnp.asarray(choices), longest)
  branches = [lambda n=n: fn(tokens_BL[:, :n]) for n in choices]
  return jax.lax.switch(index, branches)


def check(lengths: Sequence[int], text: Any) -> None:
  """Raise ValueError for lengths that are invalid or would change a result.

  Args:
    lengths: as in `apply`.
    text: a text tower's config.
  """
  if not lengths:
    return
  if list(lengths) != sorted({*lengths}) or not (
    lengths[0] > 0 and lengths[-1] < text.num_tokens
  ):
    checks.refuse(
      "text_lengths must ascend, above 0 and below"
      f" data.num_tokens={text.num_tokens}; got {tuple(lengths)}"
    )
  if not text.ignores_padding:
    checks.refuse(
      "text_lengths must be () for a text tower that looks at padding: it needs"
      " model.text.mask_padding=True, or model.text.causal=True with"
      ' model.text.pool="eot", and neither model.text.pool="last" nor'
      f' model.text.pool="cls"; got mask_padding={text.mask_padding},'
      f' causal={text.causal}, pool="{text.pool}"'
    )
