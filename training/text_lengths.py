"""Cut a batch of captions to the length that its longest one needs."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models import dual_encoder, text_transformer


def apply(
  fn: Callable[[jax.Array], Any],
  tokens_BL: jax.Array,
  lengths: Sequence[int],
  text: dual_encoder.TextConfig,
) -> Any:
  """Return fn(tokens) with the tokens cut to the shortest length that fits.

  Each length is a branch of one program, chosen on the device: all processes
  take the same one without a word between them, and nothing compiles again.

  Args:
    fn: of int32 [B, l]; the shapes of what it returns do not depend on l.
    tokens_BL: int32 ids padded at the end.
    lengths: ascending and below L, which is the last resort; none: never cut.
    text: of the tower that the tokens are for.
  """
  if not lengths:
    return fn(tokens_BL)
  choices = (*lengths, tokens_BL.shape[1])
  # Only a tower that pools the end of text knows its id.
  eot_id = getattr(text, "eot_id", None)
  longest = jnp.max(text_transformer.lengths(tokens_BL, text.pad_id, eot_id))
  index = jnp.searchsorted(jnp.asarray(choices), longest)
  branches = [lambda n=n: fn(tokens_BL[:, :n]) for n in choices]
  return jax.lax.switch(index, branches)


def check(lengths: Sequence[int], text: Any) -> None:
  """Raise ValueError where lengths cannot be used, or would change a result.

  Args:
    lengths: as in `apply`.
    text: a text tower's config.
  """
  if not lengths:
    return
  if list(lengths) != sorted({*lengths}) or not (
    lengths[0] > 0 and lengths[-1] < text.num_tokens
  ):
    raise ValueError(
      "text_lengths must ascend, above 0 and below"
      f" data.num_tokens={text.num_tokens}; got {tuple(lengths)}"
    )
  if not text.ignores_padding:
    raise ValueError(
      "text_lengths must be () for a text tower that looks at padding: it needs"
      " model.text.mask_padding=True, or model.text.causal=True with"
      ' model.text.pool="eot", and neither model.text.pool="last" nor'
      f' model.text.pool="cls"; got mask_padding={text.mask_padding},'
      f' causal={text.causal}, pool="{text.pool}"'
    )
