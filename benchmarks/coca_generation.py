"""Captions of CoCa B/32 on the CPU, beside open_clip's `generate`.

  python -m benchmarks.coca_generation --peer_python=.venv-coca/bin/python

The peer's environment has torch, open_clip_torch and "transformers==4.49.0":
with a later one open_clip generates nothing. Both have the same model, made by
open_clip with random parameters and passed in one file: each caption has the
most probable tokens, --num_tokens of them, from the pixels on. Ours is compiled
before it is timed. The contestants take turns, one batch each, on all cores
that the process may use. One line of JSON each; the ratio is the median of the
rounds' ratios, above 1 if ours is faster. "same" is the share of tokens that
are equal.
"""

import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging
from flax import nnx

from benchmarks import rounds
from models import stack
from models.decoding import captions, generation
from models.pretrained import opening
from models.pretrained.fused import open_clip_coca

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment.", required=True
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Rounds; each contestant captions a batch a round.", 1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images of a batch.", 1)
_NUM_TOKENS = flags.DEFINE_integer("num_tokens", 30, "Tokens of a caption.", 6)
# open_clip's: begin and end of a text, and no end before 5 tokens.
_BEGIN_ID, _END_ID, _PAD_ID, _MIN_LENGTH = 49_406, 49_407, 0, 5


def make_ours(folder: pathlib.Path, images: np.ndarray):
  """Return a compiled function without arguments, to tokens [b, L]."""
  coca = open_clip_coca.read(opening.open_model(folder))
  model, captioner = open_clip_coca.make(coca)
  # Layers of a scan would be copied out of their stack for each token.
  model_graph, captioner_graph = nnx.split(model)[0], nnx.split(captioner)[0]
  params = [
    stack.layers_apart(jax.device_put(x))
    for x in (coca.params, coca.captioner_params)
  ]
  ending = generation.Ending(_NUM_TOKENS.value, _END_ID, _PAD_ID, _MIN_LENGTH)

  def run(params, images_bYXC):
    texts = captions.write(
      nnx.merge(model_graph, params[0]),
      nnx.merge(captioner_graph, params[1]),
      images_bYXC,
      ending,
      begin_id=_BEGIN_ID,
    )
    return texts.tokens_bL

  compiled = jax.jit(run).lower(params, images).compile()
  return lambda: np.asarray(compiled(params, images))


def measure(folder: pathlib.Path) -> list[dict]:
  """Return a row of each contestant."""
  script = "coca_open_clip.py"
  args = (
    f"--folder={folder}",
    f"--batch_size={_BATCH_SIZE.value}",
    f"--num_tokens={_NUM_TOKENS.value}",
  )
  with rounds.answers(_PEER_PYTHON.value, script, *args) as ask:
    ours = make_ours(folder, np.load(folder / "images.npy"))
    tokens = {"diptych": ours(), "open_clip": np.load(folder / "tokens.npy")}

    def timed() -> float:
      start = time.perf_counter()
      ours()
      return time.perf_counter() - start

    seconds = rounds.measure(
      {"diptych": timed, "open_clip": lambda: float(ask())}, _ROUNDS.value
    )
  ratios = [
    theirs / own
    for own, theirs in zip(
      seconds["diptych"], seconds["open_clip"], strict=True
    )
  ]
  same = np.mean(tokens["diptych"] == tokens["open_clip"])
  return [
    {
      "name": name,
      "seconds": statistics.median(taken),
      "ratio": statistics.median(ratios) if name == "diptych" else 1.0,
      "same": float(same),
      "num_tokens": int(np.sum(tokens[name] != _PAD_ID)),
    }
    for name, taken in seconds.items()
  ]


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as folder:
    for row in measure(pathlib.Path(folder)):
      print(json.dumps(row), flush=True)


if __name__ == "__main__":
  app.run(main)
