"""ClipBERT's transformer equals transformers' BERT, by a file of its outputs.

The file is made by tests/parity/makers/golden_clipbert.py; the same comparison
runs live in tests/parity/test_clipbert.py.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.fusion import clipbert
from models.pretrained import mapping
from models.pretrained.fused import clipbert_links
from tests.models.fusion import tiny_clipbert

PATH = pathlib.Path(__file__).parent / "golden" / "clipbert.npz"


def compare(golden: dict[str, np.ndarray]) -> None:
  """Assert that words and matching differ by 2e-5 at most, float32."""
  weights = {
    name.removeprefix("weights/"): x
    for name, x in golden.items()
    if name.startswith("weights/")
  }
  model = tiny_clipbert.make(num_out=0)
  width = golden["features"].shape[-1]
  model.visual.encoder = jax.eval_shape(
    lambda: clipbert.VisualTokens(
      model.config,
      width,
      tiny_clipbert.TEXT,
      dtype="float32",
      rngs=nnx.Rngs(params=0),
    )
  ).encoder
  graph, params = nnx.split(model)
  params = nnx.to_pure_dict(params)
  cnn = params.pop("cnn")
  loaded = mapping.load(
    clipbert_links.transformer(tiny_clipbert.TEXT, pretrains=True),
    weights,
    params,
    ignored=(*clipbert_links.IGNORED, *clipbert_links.tied(True)),
  )
  params = {"cnn": cnn}
  for path, x in loaded.items():
    *parents, name = path.split("/")
    inside = params
    for parent in parents:
      inside = inside.setdefault(parent, {})
    inside[name] = jnp.asarray(x)

  @jax.jit
  def run(params, features, tokens):
    model = nnx.merge(graph, params)
    cells = model.visual.encode(features.reshape(-1, *features.shape[2:]))
    cells = cells.reshape(*features.shape[:2], *cells.shape[1:]).mean(1)
    return model.pretraining(cells[:, None], tokens)

  words, matching = run(params, golden["features"], golden["tokens"])
  # float32 sums in another order.
  is_word = golden["tokens"] != 0
  np.testing.assert_allclose(
    words[is_word], golden["words"][is_word], rtol=0, atol=2e-5
  )
  np.testing.assert_allclose(matching, golden["matching"], rtol=0, atol=2e-5)
  assert np.abs(golden["matching"][0] - golden["matching"][1]).max() > 1e-2


def test_equals_transformers():
  with np.load(PATH) as file:
    compare(dict(file))


def test_links_cover_a_model_of_published_names():
  """A file with the released names and this config's shapes fills a model."""
  model = tiny_clipbert.make(num_out=2)
  params = nnx.to_pure_dict(nnx.split(model)[1])
  links = (
    *clipbert_links.detectron2_resnet(tiny_clipbert.CNN),
    *clipbert_links.transformer(tiny_clipbert.TEXT, pretrains=False),
  )
  flat = {
    "/".join(str(key.key) for key in path): np.asarray(x)
    for path, x in jax.tree.leaves_with_path(params)
  }
  tensors = mapping.save(links, flat)
  for name in (
    "cnn.feature.backbone.stem.conv1.norm.running_var",
    "cnn.feature.backbone.res2.1.conv3.weight",
    "cnn.feature.backbone.res5.0.shortcut.norm.weight",
    "cnn.grid_encoder.0.weight",
    "transformer.bert.visual_embeddings.col_position_embeddings.weight",
    "transformer.bert.encoder.layer.1.attention.self.query.weight",
    "transformer.bert.pooler.dense.bias",
    "transformer.classifier.2.weight",
  ):
    assert name in tensors, name
  tensors["cnn.feature.roi_heads.box_head.fc1.weight"] = np.zeros(3)
  back = mapping.load(links, tensors, params, ignored=clipbert_links.IGNORED)
  assert back.keys() == flat.keys()
  for path, x in flat.items():
    np.testing.assert_array_equal(back[path], x, err_msg=path)
