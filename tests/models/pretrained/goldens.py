"""Compare a family's towers with what its published implementation computed.

A golden file (npz, no pickle) has "config" (JSON text), "tensor:NAME" for each
tensor of a small random model, "images" (uint8) or "patches" and "shapes" (of
models/naflex.py), "tokens" (int32), and what the published implementation made
of them: "zimg", "ztxt" (L2-normalised), where
there are such towers, "scale" and "bias" of its logits, where it has them.
"""

import json
import pathlib

import jax
import numpy as np

from models import dual_encoder, naflex
from models.pretrained import families, mapping, opening
from tests.models.pretrained.families import mirror

FOLDER = pathlib.Path(__file__).parent / "golden"
# Family of the golden files whose names begin so; the longest name counts.
_FAMILIES = {
  "hf_metaclip_2": "hf_clip",
  **{
    families.name(family): families.name(family) for family in families.FAMILIES
  },
}
# Golden files of whole published models. A single tower of open_clip has no
# family of its own.
MODELS = sorted(
  path.stem
  for path in FOLDER.glob("*.npz")
  if path.stem.startswith(tuple(_FAMILIES))
)


def family_name(golden: str) -> str:
  """Return the name of the family of a golden file."""
  return _FAMILIES[max(filter(golden.startswith, _FAMILIES), key=len)]


def write_published(golden, folder):
  """Write a golden model as a published folder or file.

  Returns:
    The path, and the model as `read` returns it.
  """
  found, _ = read(FOLDER / f"{golden}.npz")
  if family_name(golden) == "big_vision":
    np.savez(folder / "weights.npz", **found.tensors)
    return folder / "weights.npz", found
  mirror.write_source(folder, found)
  return folder, found


def write(path, config, tensors, **arrays) -> None:
  """Write a golden file; `tensors` by name, `arrays` as listed above."""
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(
    path,
    config=np.asarray(json.dumps(config)),
    **{f"tensor:{name}": np.asarray(x) for name, x in tensors.items()},
    **arrays,
  )


def read(path) -> tuple[opening.PublishedFiles, dict[str, np.ndarray]]:
  """Return the model as found on disk, and the other arrays."""
  with np.load(path, allow_pickle=False) as file:
    arrays = dict(file)
  tensors = {
    name.removeprefix("tensor:"): arrays.pop(name)
    for name in list(arrays)
    if name.startswith("tensor:")
  }
  config = json.loads(str(arrays.pop("config")))
  return opening.PublishedFiles(pathlib.Path(path), config, tensors), arrays


def load(family, found: opening.PublishedFiles):
  """Return the model's config and parameters as `family` reads them."""
  assert family.recognises(found)
  config = family.read_model(found)
  config.check()
  shapes = jax.eval_shape(
    lambda key: dual_encoder.init_params(config, key), jax.random.key(0)
  )
  prefix = ""
  if len(config.towers) == 1:  # such a file has no scale and bias either
    prefix = "img/" if config.text is None else "txt/"
  params = mapping.load(
    family.links(config),
    found.tensors,
    shapes,
    ignored=family.IGNORED,
    prefix=prefix,
  )
  rest = {
    "log_scale": np.log(np.float32(config.scale_init)),
    "bias": np.float32(config.bias_init),
  }
  return config, {**rest, **params}


def check(family, path, tolerance: float = 2e-5) -> None:
  """Assert that embeddings and logits agree, and tensors come back bit-equal.

  Tolerance is on the largest absolute difference: float32 sums in another
  order.
  """
  found, expected = read(path)
  config, params = load(family, found)
  back = mapping.save(
    family.links(config),
    {
      path: x
      for path, x in params.items()
      if len(config.towers) == 2 or "/" in path
    },
  )
  assert back
  for name, array in back.items():
    assert array.shape == found.tensors[name].shape, name
    np.testing.assert_array_equal(array, found.tensors[name], name)
  model = dual_encoder.merge(
    dual_encoder.make_graph(config), mapping.nested(params)
  )
  images = expected.get("images")
  if "patches" in expected:
    images = naflex.Patches(expected["patches"], expected["shapes"])
  zimg, ztxt = jax.jit(lambda m, *args: m(*args))(
    model, images, expected.get("tokens")
  )
  for name, got in (("zimg", zimg), ("ztxt", ztxt)):
    if name in expected:
      np.testing.assert_allclose(got, expected[name], atol=tolerance, rtol=0)
  if "scale" in expected:
    np.testing.assert_allclose(
      np.exp(params["log_scale"]), expected["scale"], rtol=1e-6
    )
    np.testing.assert_allclose(params["bias"], expected.get("bias", 0.0))
