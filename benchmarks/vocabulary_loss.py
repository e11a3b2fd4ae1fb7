"""Memory of the vocabulary loss, by the compiler for one TPU v5e chip.

  python -m benchmarks.vocabulary_loss [--json]

Nothing runs and no TPU is needed, but requirements-tpu.txt. Both programs
compute the mean loss of tokens and its gradients by tokens and by the vectors
of words, bfloat16: `plain` from all logits at once (losses/vocabulary.py,
`reference`), `blocks` by `cross_entropy`. Arguments and results are not
counted.

`logits_mib` are the logits alone, in bfloat16. `temp_mib` is the memory that
the compiler allocates beside arguments and results; where it finds that a
program does not fit into the chip, it is "does not fit".
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags

from training.plan import topology

_TEXTS = flags.DEFINE_integer("texts", 1024, "Texts of a batch.")
_TOKENS = flags.DEFINE_integer("tokens", 64, "Tokens of a text.")
_WORDS = flags.DEFINE_integer("words", 256_000, "Words of the vocabulary.")
_WIDTH = flags.DEFINE_integer("width", 768, "Width of a token.")
_BLOCK_TOKENS = flags.DEFINE_multi_integer(
  "block_tokens", None, "Tokens of a block; repeat it to compare several."
)
_BLOCK_WORDS = flags.DEFINE_multi_integer(
  "block_words", None, "Words of a block; repeat it to compare several."
)
_PLAIN = flags.DEFINE_bool("plain", True, "Compile the plain loss too.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object a line.")

Row = dict[str, str | int | float]


def rows(devices: Sequence[Any]) -> Iterator[Row]:
  """Yield a row for the plain loss, and for each size of blocks."""
  from losses import vocabulary

  if _PLAIN.value:
    yield _row("plain", devices, vocabulary.reference, {})
  for block_tokens in _BLOCK_TOKENS.value or [vocabulary.BLOCK_TOKENS]:
    for block_words in _BLOCK_WORDS.value or [vocabulary.BLOCK_WORDS]:
      sizes = {"block_tokens": block_tokens, "block_words": block_words}
      yield _row("blocks", devices, vocabulary.cross_entropy, sizes)


def _row(name: str, devices, loss_fn, sizes: dict[str, int]) -> Row:
  import jax
  import jax.numpy as jnp

  num_texts, length, num_words = _TEXTS.value, _TOKENS.value, _WORDS.value

  def mean_loss(x_BLD, table_VD, label_BL):
    return jnp.mean(loss_fn(x_BLD, table_VD, label_BL, **sizes))

  where = jax.sharding.SingleDeviceSharding(devices[0])
  arguments = [
    jax.ShapeDtypeStruct(shape, dtype, sharding=where)
    for shape, dtype in (
      ((num_texts, length, _WIDTH.value), jnp.bfloat16),
      ((num_words, _WIDTH.value), jnp.bfloat16),
      ((num_texts, length), jnp.int32),
    )
  ]
  step = jax.jit(jax.value_and_grad(mean_loss, argnums=(0, 1)))
  logits = num_texts * length * num_words * 2
  row: Row = {
    "name": name,
    "block_tokens": sizes.get("block_tokens", num_texts * length),
    "block_words": sizes.get("block_words", num_words),
    "logits_mib": round(logits / 2**20),
  }
  try:
    memory: Any = step.lower(*arguments).compile().memory_analysis()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return row | {"temp_mib": "does not fit"}
  return row | {"temp_mib": round(memory.temp_size_in_bytes / 2**20, 1)}


def main(argv: Sequence[str]) -> None:
  del argv
  chip = topology.prepare("v5e:2x2")
  for i, row in enumerate(rows(topology.devices(chip)[:1])):
    if _JSON.value:
      print(json.dumps(row), flush=True)
      continue
    if not i:
      print(*(f"{key:>12}" for key in row), sep="\t")
    print(*(f"{x!s:>12}" for x in row.values()), sep="\t", flush=True)


if __name__ == "__main__":
  app.run(main)
