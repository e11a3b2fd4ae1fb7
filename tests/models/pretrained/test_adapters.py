"""Folders of peft: the base's weights with the adapter's updates."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from models.pretrained import opening

RNG = np.random.default_rng(0)
BASE = {
  "vision.layers.0.q_proj.weight": RNG.normal(size=(4, 3)),
  "vision.layers.0.q_proj.bias": RNG.normal(size=4),
  "vision.layers.1.q_proj.weight": RNG.normal(size=(4, 3)),
  "head.weight": RNG.normal(size=(2, 4)),
}
BASE = {name: x.astype(np.float32) for name, x in BASE.items()}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "bias": "none"}
FIRST = "base_model.model.vision.layers.0.q_proj"
HEAD = "base_model.model.head"


def _update(module: str, num_in: int, num_out: int) -> dict[str, np.ndarray]:
  return {
    f"{module}.lora_A.weight": RNG.normal(size=(2, num_in)).astype(np.float32),
    f"{module}.lora_B.weight": RNG.normal(size=(num_out, 2)).astype(np.float32),
  }


UPDATES = _update(FIRST, 3, 4) | _update(HEAD, 4, 2)


def _write(
  folder: pathlib.Path,
  tensors: dict[str, np.ndarray] = UPDATES,
  base: dict[str, np.ndarray] = BASE,
  **config: Any,
) -> pathlib.Path:
  """Write a base model and an adapter; return the adapter's folder."""
  (folder / "base").mkdir(parents=True)
  safetensors.numpy.save_file(base, folder / "base" / "model.safetensors")
  (folder / "base" / "config.json").write_text('{"model_type": "x"}')
  adapter = folder / "adapter"
  adapter.mkdir()
  safetensors.numpy.save_file(tensors, adapter / "adapter_model.safetensors")
  config = CONFIG | {"base_model_name_or_path": str(folder / "base")} | config
  (adapter / "adapter_config.json").write_text(json.dumps(config))
  return adapter


def _change(module: str, scale: float) -> np.ndarray:
  a, b = (UPDATES[f"{module}.lora_{part}.weight"] for part in "AB")
  return scale * b @ a


def test_updates_are_added(tmp_path: pathlib.Path) -> None:
  adapter = _write(tmp_path)
  files = opening.open_model(adapter)
  assert files.adapter == adapter
  assert files.path == tmp_path / "base"
  assert files.config == {"model_type": "x"}
  assert set(files.tensors) == set(BASE)
  for name, module in (("vision.layers.0.q_proj", FIRST), ("head", HEAD)):
    np.testing.assert_allclose(
      files.tensors[f"{name}.weight"],
      BASE[f"{name}.weight"] + _change(module, 6 / 2),
      rtol=1e-6,
    )
  for name in ("vision.layers.0.q_proj.bias", "vision.layers.1.q_proj.weight"):
    np.testing.assert_array_equal(files.tensors[name], BASE[name])


@pytest.mark.parametrize(
  ("config", "scale"),
  [
    ({"use_rslora": True}, 6 / 2**0.5),
    ({"rank_pattern": {"head": 3}}, 6 / 3),
    ({"alpha_pattern": {"other": 1, "head": 4}}, 4 / 2),
    ({"alpha_pattern": {"ead": 4}}, 6 / 2),  # not a whole part of the name
  ],
)
def test_scale(
  tmp_path: pathlib.Path, config: dict[str, Any], scale: float
) -> None:
  files = opening.open_model(_write(tmp_path, **config))
  np.testing.assert_allclose(
    files.tensors["head.weight"],
    BASE["head.weight"] + _change(HEAD, scale),
    rtol=1e-5,
  )


def test_base_elsewhere(tmp_path: pathlib.Path) -> None:
  adapter = _write(tmp_path, base_model_name_or_path=None)
  with pytest.raises(ValueError, match=r"names no base model; .*#base=FOLDER"):
    opening.open_model(adapter)
  files = opening.open_model(f"{adapter}#base={tmp_path / 'base'}")
  assert "head.weight" in files.tensors


def test_base_with_a_wrapper(tmp_path: pathlib.Path) -> None:
  base = {f"model.{name}": x for name, x in BASE.items()}
  tensors = {
    name.replace("base_model.model.", "base_model.model.model."): x
    for name, x in UPDATES.items()
  }
  files = opening.open_model(_write(tmp_path, tensors, base))
  np.testing.assert_allclose(
    files.tensors["head.weight"],
    BASE["head.weight"] + _change(HEAD, 3),
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  ("tensors", "config", "message"),
  [
    (UPDATES, {"peft_type": "IA3"}, "peft_type must be 'LORA'"),
    (UPDATES, {"use_dora": True}, "use_dora must be False"),
    (UPDATES, {"bias": "all"}, "bias must be 'none'"),
    (UPDATES, {"modules_to_save": ["head"]}, "modules_to_save must be None"),
    ({}, {}, "the adapter has no tensor"),
    (
      _update("base_model.model.none", 3, 4),
      {},
      "updates base_model.model.none",
    ),
    (
      {f"{HEAD}.lora_A.weight": UPDATES[f"{HEAD}.lora_A.weight"]},
      {},
      "has no other half",
    ),
    (
      UPDATES | {f"{HEAD}.bias": np.zeros(2)},
      {},
      "no part of a low-rank update",
    ),
  ],
)
def test_other_adapters(
  tmp_path: pathlib.Path,
  tensors: dict[str, np.ndarray],
  config: dict[str, Any],
  message: str,
) -> None:
  with pytest.raises(ValueError, match=message):
    opening.open_model(_write(tmp_path, tensors, **config))


def test_an_update_of_another_shape(tmp_path: pathlib.Path) -> None:
  files = opening.open_model(_write(tmp_path, _update(HEAD, 5, 2)))
  with pytest.raises(ValueError, match=r"shape \(2, 5\); head.weight has"):
    files.tensors["head.weight"]


def test_an_adapter_of_itself(tmp_path: pathlib.Path) -> None:
  adapter = tmp_path / "adapter"
  _write(tmp_path, base_model_name_or_path=str(adapter))
  with pytest.raises(ValueError, match="must be no adapter itself"):
    opening.open_model(adapter)


def test_a_pickle_is_not_read(tmp_path: pathlib.Path) -> None:
  adapter = _write(tmp_path)
  (adapter / "adapter_model.safetensors").unlink()
  (adapter / "adapter_model.bin").write_bytes(b"")
  with pytest.raises(ValueError, match="is a pickle"):
    opening.open_model(adapter)
