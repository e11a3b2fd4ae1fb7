"""Texts of beam search, by open_clip and by transformers < 5.

It needs an environment of its own, with torch, open_clip_torch and
"transformers==4.49.0": 4.57 has no BeamSearchScorer any more.

Run: python -m tests.parity.makers.golden_beams

Both search with the logits of tables (tests/models/decoding/histories.py):
open_clip by the search of its CoCa, transformers by its scorer.
"""

import pathlib

import numpy as np
import torch
import transformers
from transformers import generation

from tests.parity import torchvision_loading

torchvision_loading.load()  # open_clip imports it

from open_clip import coca_model  # noqa: E402

PATH = pathlib.Path("tests/models/decoding/golden/beams.npz")
BEGIN, END, PAD = 0, 1, 2
LENGTH, VOCAB_SIZE, NUM_ROWS = 10, 8, 12


def make_tables() -> np.ndarray:
  """Return a table for each row, float32 [rows, length, V, V]."""
  rng = np.random.default_rng(0)
  shape = (NUM_ROWS, LENGTH, VOCAB_SIZE, VOCAB_SIZE)
  return rng.normal(size=shape).astype(np.float32)


class Captioner:
  """Stand for open_clip's CoCa; the number of a row is its image."""

  def __init__(self, tables: np.ndarray):
    self.tables = torch.from_numpy(tables)

  def _encode_image(self, rows):
    return rows, rows

  def __call__(self, images, text, **kwargs):
    places = torch.arange(text.shape[1])
    of_token = self.tables[images[:, None], places[None], text]
    return {"logits": torch.cumsum(of_token, dim=1)}


def open_clip_texts(tables, num_beams, num_groups, min_length) -> np.ndarray:
  """Return what open_clip's CoCa generates, padded."""
  tokens = coca_model.CoCa._generate_beamsearch(
    Captioner(tables),
    torch.arange(NUM_ROWS),
    pad_token_id=PAD,
    eos_token_id=END,
    sot_token_id=BEGIN,
    num_beams=num_beams,
    num_beam_groups=num_groups,
    min_seq_len=min_length,
    stopping_criteria=generation.StoppingCriteriaList(
      [generation.MaxLengthCriteria(max_length=LENGTH)]
    ),
  )
  return padded(tokens)


def transformers_texts(tables, num_beams, penalty, stop) -> np.ndarray:
  """Return the texts of transformers' scorer, padded."""
  captioner = Captioner(tables)
  images = torch.arange(NUM_ROWS).repeat_interleave(num_beams)
  tokens = torch.full((NUM_ROWS * num_beams, 1), BEGIN)
  scorer = transformers.BeamSearchScorer(
    batch_size=NUM_ROWS,
    num_beams=num_beams,
    device=torch.device("cpu"),
    length_penalty=penalty,
    do_early_stopping=stop,
    max_length=LENGTH,
  )
  ids = {"pad_token_id": PAD, "eos_token_id": END, "decoder_prompt_len": 1}
  total = torch.full((NUM_ROWS, num_beams), -1e9)
  total[:, 0] = 0
  total = total.view(-1)
  while tokens.shape[1] < LENGTH and not scorer.is_done:
    logits = captioner(images, tokens)["logits"][:, -1]
    scores = torch.log_softmax(logits, dim=-1) + total[:, None]
    best, index = torch.topk(scores.view(NUM_ROWS, -1), 2 * num_beams, dim=1)
    beam, word = index // VOCAB_SIZE, index % VOCAB_SIZE
    going_on = scorer.process(tokens, best, word, beam, **ids)
    total = going_on["next_beam_scores"]
    tokens = torch.cat(
      [
        tokens[going_on["next_beam_indices"]],
        going_on["next_beam_tokens"][:, None],
      ],
      dim=1,
    )
  found = scorer.finalize(tokens, total, None, None, max_length=LENGTH, **ids)
  return padded(found["sequences"])


def padded(tokens: torch.Tensor) -> np.ndarray:
  """Return int32 [rows, length]."""
  more = LENGTH - tokens.shape[1]
  padding = torch.full((len(tokens), more), PAD)
  return torch.cat([tokens, padding], dim=1).numpy().astype(np.int32)


def main() -> None:
  """Write the file."""
  tables = make_tables()
  arrays = {"tables": tables}
  # 6 and 3 are the defaults of `generate`: three searches of two beams each,
  # which are the same.
  for num_beams, num_groups, min_length in ((6, 3, 5), (2, 1, 5), (4, 1, 0)):
    name = f"open_clip/{num_beams // num_groups}/{min_length}"
    texts = open_clip_texts(tables, num_beams, num_groups, min_length)
    assert (arrays.get(name, texts) == texts).all()
    arrays[name] = texts
  for num_beams, penalty, stop in (
    (3, 1.0, False),
    (4, 2.0, False),
    (3, 1.0, True),
    (4, 1.0, "never"),
    (3, 0.0, "never"),
  ):
    stop_name = {False: "heuristic", True: "full"}.get(stop, "never")
    name = f"transformers/{num_beams}/{penalty}/{stop_name}"
    arrays[name] = transformers_texts(tables, num_beams, penalty, stop)
  PATH.parent.mkdir(exist_ok=True)
  np.savez_compressed(PATH, **arrays)


if __name__ == "__main__":
  main()
