"""ClipBERT's transformer by transformers' BERT, and the file of its golden.

BERT, its heads of pre-training and their weights are transformers'. Visual
tokens are written out in PyTorch, from the paper's description.

Run: python -m tests.parity.makers.golden_clipbert
"""

import importlib.util
import pathlib

import numpy as np
import torch
import transformers

from tests.parity import torchvision_loading

PATH = pathlib.Path("tests/models/fusion/golden/clipbert.npz")
# Channels of the feature maps, in place of 2,048.
_CHANNELS = 6


def make() -> dict[str, np.ndarray]:
  """Return weights by ClipBERT's names, inputs and outputs."""
  torch.manual_seed(0)
  config = transformers.BertConfig(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=8,
    attn_implementation="eager",
  )
  model = transformers.BertForPreTraining(config).eval()
  with torch.no_grad():
    for name, x in model.named_parameters():
      # Norms and biases too: their initial values would hide faults.
      x.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.2)
  visual = {
    "row_position_embeddings.weight": torch.randn(4, 16) / 5,
    "col_position_embeddings.weight": torch.randn(4, 16) / 5,
    "token_type_embeddings.weight": torch.randn(1, 16) / 5,
    "LayerNorm.weight": 1 + torch.randn(16) / 5,
    "LayerNorm.bias": torch.randn(16) / 5,
  }
  encoder = torch.randn(16, _CHANNELS, 3, 3) / 5
  # Two videos of one clip of three frames, 4 x 6 features.
  features = torch.randn(2, 3, _CHANNELS, 4, 6)
  tokens = torch.randint(1, 50, (2, 8))
  tokens[1, 5:] = 0
  with torch.no_grad():
    words, matching = _forward(
      model, visual, encoder, features=features, tokens=tokens
    )
  weights = {f"transformer.{k}": v for k, v in model.state_dict().items()}
  weights |= {
    f"transformer.bert.visual_embeddings.{k}": v for k, v in visual.items()
  }
  weights["cnn.grid_encoder.0.weight"] = encoder
  return {
    **{f"weights/{k}": v.numpy() for k, v in weights.items()},
    "features": features.permute(0, 1, 3, 4, 2).numpy(),
    "tokens": tokens.numpy().astype(np.int32),
    "words": words.numpy(),
    "matching": matching.numpy(),
  }


def _forward(model, visual, encoder, *, features, tokens):
  functional = torch.nn.functional
  x = functional.conv2d(features.flatten(0, 1), encoder, padding=1)
  x = functional.relu(functional.max_pool2d(x, 2, 2))
  x = x.view(2, 3, *x.shape[1:]).mean(1).permute(0, 2, 3, 1)
  _, height, width, dim = x.shape
  x = x + visual["row_position_embeddings.weight"][None, :height, None]
  x = x + visual["col_position_embeddings.weight"][None, None, :width]
  x = x.reshape(2, -1, dim) + visual["token_type_embeddings.weight"]
  x = functional.layer_norm(
    x, (dim,), visual["LayerNorm.weight"], visual["LayerNorm.bias"], 1e-12
  )
  text = model.bert.embeddings(input_ids=tokens)
  is_seen = torch.cat([tokens != 0, torch.ones(x.shape[:2], dtype=bool)], 1)
  lowest = torch.finfo(torch.float32).min
  mask = torch.where(is_seen, 0.0, lowest)[:, None, None]
  states = model.bert.encoder(torch.cat([text, x], 1), mask)
  states = states.last_hidden_state
  pooled = model.bert.pooler(states)
  return model.cls(states[:, : tokens.shape[1]], pooled)


def main() -> None:
  if importlib.util.find_spec("torchvision"):
    torchvision_loading.load()  # transformers imports it
  PATH.parent.mkdir(exist_ok=True)
  np.savez_compressed(PATH, **make())


if __name__ == "__main__":
  main()
