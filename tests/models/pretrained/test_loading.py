"""Config and parameters of every published family, read from a folder."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from models.pretrained import families, loading, mapping, opening
from runtime import sections
from tests import runs
from tests.models.pretrained import goldens


@pytest.mark.parametrize("golden", goldens.MODELS)
def test_a_folder_is_loaded(golden, tmp_path):
  path, found = goldens.write_published(golden, tmp_path)
  files = opening.open_model(path)
  family = families.find(files)
  assert families.name(family) == goldens.family_name(golden)
  config = loading.read_config(family, files)
  assert config == dataclasses.replace(
    family.read_model(found),
    image_mean=config.image_mean,
    image_std=config.image_std,
  )
  params = sections.flat(loading.read_params(family, config, files), "/")
  assert all(x.dtype == np.float32 for x in params.values())
  back = mapping.save(
    family.links(config),
    {p: x for p, x in params.items() if len(config.towers) == 2 or "/" in p},
  )
  assert back
  for name, array in back.items():
    np.testing.assert_array_equal(array, found.tensors[name], name)
  # No logits were published for a single tower.
  np.testing.assert_allclose(
    np.exp(params["log_scale"]), config.scale_init, rtol=1e-6
  )


def _open_clip_file(folder, name="open_clip_vit"):
  found, _ = goldens.read(goldens.FOLDER / f"{name}.npz")
  path = folder / "weights.safetensors"
  tensors = {n: np.array(x, order="C") for n, x in found.tensors.items()}
  safetensors.numpy.save_file(tensors, path)
  return path


def _config(path):
  files = opening.open_model(path)
  return loading.read_config(loading.find_family(files), files)


def test_a_file_without_a_config_says_what_is_assumed(tmp_path, capsys):
  path = _open_clip_file(tmp_path)
  before = _config(path)
  assert (before.image.activation, before.image.num_heads) == ("gelu", 1)
  said = capsys.readouterr().err
  assert said.startswith(
    f"{path} has no config: assumed activation=gelu, image_heads="
  )
  assert said.endswith(
    f"{path}#activation=gelu,image_heads={before.image.num_heads},"
    f"text_heads={before.text.num_heads}\n"
  )
  after = _config(f"{path}#activation=quick_gelu,image_heads=2, text_heads=4")
  assert capsys.readouterr().err == ""
  assert after.image.activation == after.text.activation == "quick_gelu"
  assert (after.image.num_heads, after.text.num_heads) == (2, 4)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ("activation=relu", "activation must be one of .*relu"),
    ("heads=2", "#heads must be one of the fields .*: activation, image_heads"),
    ("image_heads=x", "#image_heads must be a number; got 'x'"),
  ],
)
def test_fields_behind_a_path_that_are_wrong(fields, message, tmp_path):
  path = _open_clip_file(tmp_path)
  with pytest.raises(ValueError, match=message):
    _config(f"{path}#{fields}")
  (tmp_path / "config.json").write_text('{"model_type": "clip"}')
  with pytest.raises(ValueError, match="is described by its config; expected"):
    _config(f"{path}#{fields}")


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ([], "must hold a JSON object"),
    ({"model_type": "llama"}, "no family that is known .*'llama'"),
    ({"model_type": ["vit"]}, "another form than expected"),
    ({"model_type": "siglip", "text_config": 5}, "another form than expec"),
    ({"model_type": "vit", "hidden_size": "16"}, "hidden_size must be an int"),
    ({"model_type": "vit", "hidden_act": []}, "hidden_act must be one of"),
    (
      {"model_type": "vit", "layer_norm_eps": "x"},
      "norm_epsilon must be of type float; got 'x'",
    ),
    (
      {"model_type": "vit", "layer_norm_eps": float("nan")},
      "norm_epsilon must be finite; got nan",
    ),
    ({"model_type": "vit", "num_hidden_layers": 10**9}, "do not fit"),
    (
      {"model_type": "vit", "image_size": 480},
      "of another shape: .*position.*got .5, 16",
    ),
    (
      {"model_type": "vit", "quantization_config": {"quant_method": "gptq"}},
      "quantised ..gptq.., which are not read",
    ),
  ],
)
def test_a_description_that_cannot_be_meant(config, message, tmp_path):
  goldens.write_published("hf_vit", tmp_path)
  path = tmp_path / "config.json"
  if config:
    config = json.loads(path.read_text()) | config
  path.write_text(json.dumps(config))
  with pytest.raises(ValueError, match=f"(?s){tmp_path}.*{message}") as error:
    _params(tmp_path)
  assert len(str(error.value).splitlines()) == 1


def test_positions_of_another_length_are_refused(tmp_path):
  """open_clip would interpolate those of texts."""
  goldens.write_published("open_clip_vit", tmp_path)
  path = tmp_path / "open_clip_config.json"
  config = json.loads(path.read_text())
  config["model_cfg"]["text_cfg"]["context_length"] -= 1
  path.write_text(json.dumps(config))
  with pytest.raises(ValueError, match="positional_embedding: expected .9, 16"):
    _params(tmp_path)


@pytest.mark.parametrize("name", ["gelu_python", "gelu_accurate"])
def test_other_names_of_gelu(name, tmp_path):
  goldens.write_published("hf_vit", tmp_path)
  path = tmp_path / "config.json"
  path.write_text(
    json.dumps(json.loads(path.read_text()) | {"hidden_act": name})
  )
  expected = {"gelu_python": "gelu", "gelu_accurate": "gelu_tanh"}[name]
  assert _config(tmp_path).image.activation == expected


def _params(path):
  files = opening.open_model(path)
  family = loading.find_family(files)
  return loading.read_params(family, loading.read_config(family, files), files)


@pytest.mark.parametrize(
  ("value", "word"), [(np.nan, "NaN"), (-np.inf, "an infinite number")]
)
def test_numbers_that_are_not_finite_are_named(value, word, tmp_path):
  _, found = goldens.write_published("hf_vit", tmp_path)
  name = "encoder.layer.0.attention.attention.query.weight"
  name = next(x for x in found.tensors if x.endswith(name))
  array = np.array(found.tensors[name])
  array[3, 1] = value
  tensors = {n: np.array(x, order="C") for n, x in found.tensors.items()}
  safetensors.numpy.save_file(
    tensors | {name: array}, tmp_path / "model.safetensors"
  )
  with pytest.raises(ValueError, match=f"tensor {name} has {word} in it"):
    _params(tmp_path)


def test_dropout_of_training_is_listed(tmp_path):
  goldens.write_published("hf_clip", tmp_path)
  files = opening.open_model(tmp_path)
  config = dict(files.config)
  config["text_config"] = config["text_config"] | {"attention_dropout": 0.1}
  files = dataclasses.replace(files, config=config)
  assert loading.training_only(files) == {"text_config.attention_dropout": 0.1}


@pytest.mark.parametrize(
  ("module", "heavy"),
  [
    # Importing it takes as long as JAX and Flax do.
    (
      "loading",
      ("grain", "orbax", "tokenizers", "matplotlib", "PIL", "input_pipeline"),
    ),
    # Workers of the input pipeline import it.
    ("pixels", ("jax", "flax")),
  ],
)
def test_nothing_heavy_is_imported(module, heavy):
  script = (
    f"import sys, models.pretrained.{module};"
    f"print([name for name in {heavy} if name in sys.modules])"
  )
  result = subprocess.run(
    (sys.executable, "-c", script),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == "[]"
