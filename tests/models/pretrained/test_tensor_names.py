"""Wrappers' prefixes, adapters and quantised tensors."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from models.pretrained import opening, tensor_names

A = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
  "prefix",
  [
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "base_model.model.",
    "clip.",
    "state_dict.",
    "state_dict.module._orig_mod.",
  ],
)
def test_a_prefix_of_all_names_is_taken_off(prefix):
  tensors = {f"{prefix}visual.proj": A, f"{prefix}logit_scale": 2 * A}
  got = tensor_names.unwrapped(tensors)
  assert sorted(got) == ["logit_scale", "visual.proj"]
  assert len(got) == 2
  np.testing.assert_array_equal(got["logit_scale"], 2 * A)
  assert "logit_scale" in got
  assert f"{prefix}logit_scale" not in got


def test_compiled_parts_and_averages():
  tensors = {
    "n_averaged": A,
    "module.visual._orig_mod.proj": A,
    "module.text.proj": A,
  }
  assert [*tensor_names.unwrapped(tensors)] == ["visual.proj", "text.proj"]


def test_names_of_families_stay():
  tensors = {"visual.proj": A, "text_model.head": A, "params/img/cls": A}
  assert tensor_names.unwrapped(tensors) is tensors


def test_a_prefix_of_some_names_is_named():
  tensors = {"module.a": A, "module.b": A, "c": A}
  with pytest.raises(
    ValueError, match=r"^2 of 3 tensors .* 'module\.', and c does not: expected"
  ):
    tensor_names.unwrapped(tensors)
  with pytest.raises(ValueError, match=r"_orig_mod\.a and a are both a"):
    tensor_names.unwrapped({"_orig_mod.a": A, "a": A})


@pytest.mark.parametrize(
  "name",
  [
    "base_model.model.q_proj.lora_A.weight",
    "q_proj.lora_B.default.weight",
    "q_proj.base_layer.weight",
    "q_proj.lora_magnitude_vector.weight",
    "head.modules_to_save.default.weight",
  ],
)
def test_an_adapter_is_refused(name):
  with pytest.raises(ValueError, match=r"lora|base|modules.*merge_and_unload"):
    tensor_names.check_plain({"a": A, name: A})


@pytest.mark.parametrize(
  ("name", "scheme"),
  [
    ("q_proj.qweight", "GPTQ"),
    ("q_proj.qzeros", "GPTQ"),
    ("q_proj.scales", "AWQ"),
    ("q_proj.weight.absmax", "4 bits"),
    ("q_proj.weight.quant_state.bitsandbytes__nf4", "4 bits"),
    ("q_proj.SCB", "8 bits"),
    ("q_proj.weight_packed", "compressed-tensors"),
    ("q_proj.weight_scale", "compressed-tensors"),
    ("q_proj.weight_scale_inv", "float8"),
    ("q_proj.weight:qdata", "torchao"),
    ("q_proj._weight_qdata", "torchao"),
    ("q_proj.weight._data", "quanto|torchao"),
    ("q_proj.biases", "MLX"),
  ],
)
def test_a_scheme_of_quantisation_is_named(name, scheme):
  with pytest.raises(ValueError, match=f"{name} .*({scheme}).*dequantise"):
    tensor_names.check_plain({"a": A, name: A})


@pytest.mark.parametrize(
  ("dtype", "kind"),
  [
    (ml_dtypes.float8_e4m3fn, "float8 e4m3"),
    (ml_dtypes.float8_e5m2, "float8 e5m2"),
    (np.int8, "int8"),
    (np.uint8, "uint8"),
    (np.int32, "int32"),
  ],
)
def test_narrow_numbers_are_never_read(dtype, kind, tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.numpy.save_file(
    {"a.weight": A, "b.weight": A.astype(dtype)}, path
  )
  with pytest.raises(ValueError, match="is of a quantised") as error:
    opening.open_model(path)
  assert str(error.value).startswith(f"{path}: tensor b.weight ({kind}) is of")


def test_counters_and_indices_are_no_quantised_model(tmp_path):
  path = tmp_path / "m.safetensors"
  tensors = {
    "a": A,
    "x.position_ids": np.zeros((1, 77), np.int32),
    "num_batches_tracked": np.array(3),
    "context_length": np.array(77, np.int32),
  }
  safetensors.numpy.save_file(tensors, path)
  assert len(opening.open_model(path).tensors) == 4
