"""Tokenizer and image protocol of a run: in its folder, and from its start."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from inference import model as model_lib
from input_pipeline import model_inputs
from input_pipeline.images import image_protocols, naflex
from input_pipeline.tokenizers import bpe
from models.pretrained import families
from tests import runs
from tests.inference import fresh_run
from tests.input_pipeline.sources import tars
from tests.models.pretrained.families import mirror
from training.run import run_inputs, workdir

TEXTS = ("a red cat on a mat", "two dogs", "猫")


def _config(changes=None):
  return runs.make_config({"data.num_tokens": 12, **(changes or {})})


def _bpe(tmp_path, texts, name="v"):
  return bpe.make_tokenizer(
    lambda: texts,
    tmp_path / name,
    languages=("en",),
    vocab_size=512,
    num_tokens=12,
  )


def _run(folder, config, tokenizer):
  """Write a run that holds its inputs."""
  fresh_run.write(folder, config)
  protocol = config.data.augmentation.evaluation_protocol(
    config.data.image_size, config.model.image_mean, config.model.image_std
  )
  model_inputs.write(model_inputs.ModelInputs(protocol, tokenizer), folder)


def test_a_run_is_moved_and_its_data_are_gone(tmp_path):
  """Everything that embeds reads the run's folder alone."""
  config = _config(
    {"data.tokenizer": "bpe", "data.sources.main.path": str(tmp_path / "gone")}
  )
  made = _bpe(tmp_path, ["a red cat on a mat", "a dog and two dogs"] * 5)
  _run(tmp_path / "run", config, made)
  shutil.move(tmp_path / "run", tmp_path / "elsewhere")
  shutil.rmtree(tmp_path / "v")
  model = model_lib.load(tmp_path / "elsewhere")
  np.testing.assert_array_equal(model.make_tokenizer()(TEXTS), made(TEXTS))
  assert model.make_image_protocol().resize == "shortest"
  # A changed vocabulary is no vocabulary.
  path = tmp_path / "elsewhere" / "tokenizer" / "tokenizer.json"
  path.write_text(path.read_text().replace('"cat"', '"cut"', 1) + " ")
  with pytest.raises(ValueError, match="tokenizer.json was changed after"):
    model.make_tokenizer()
  # Nor is none: it would be trained on other captions without a word.
  shutil.rmtree(path.parent)
  with pytest.raises(FileNotFoundError, match="tokenizer is missing, which"):
    model.make_tokenizer()
  shutil.rmtree(tmp_path / "elsewhere" / workdir.CHECKPOINTS)
  with pytest.raises(workdir.WorkdirError, match="a run without its checkpo"):
    model_lib.load(tmp_path / "elsewhere")


@pytest.mark.parametrize(
  ("changes", "want"),
  [
    ({}, ("shortest", 16, "bicubic")),
    (
      {"resize": "area", "crop_scale": (0.5, 1.0), "interpolation": "bilinear"},
      ("shortest", 16, "bil"),
    ),
    ({"resize": "squash"}, ("squash", 16, "bicubic")),
    ({"resize": "squash", "resize_size": 20}, ("squash", 20, "bicubic")),
    ({"resize": "shortest", "resize_size": 18}, ("shortest", 18, "bicubic")),
    ({"resize": "protocol", "protocol": "vit"}, ("squash", 16, "bilinear")),
  ],
)
def test_protocol_follows_the_training_geometry(changes, want, tmp_path):
  config = _config({f"data.augmentation.{k}": v for k, v in changes.items()})
  got = run_inputs.find_protocol(tmp_path, config)
  fields = got.resize, got.resize_size, got.interpolation[: len(want[2])]
  assert fields == want
  assert (got.size, got.mean) == (16, config.model.image_mean)
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
  wide = Image.fromarray(pixels)
  if want == ("shortest", 16, "bicubic"):
    whole = np.asarray(wide.resize((24, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(got.apply(pixels), whole[:, 4:20])


def test_a_phase_begins_and_ends_to_cut_patches():
  """Statistics stay those of the run; patches are as many as evaluations'."""
  squares = _config().data
  patches = dataclasses.replace(
    squares,
    augmentation=dataclasses.replace(
      squares.augmentation,
      resize="naflex",
      max_num_patches=9,
      patch_counts=(4, 16),
    ),
  )
  statistics = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
  square = squares.augmentation.evaluation_protocol(16, *statistics)
  made = run_inputs.fitted(square, patches)
  assert made == naflex.Protocol(8, 9, *statistics)
  back = run_inputs.fitted(made, squares)
  assert isinstance(back, image_protocols.Protocol)
  assert (back.size, back.mean, back.std) == (16, *statistics)


def test_protocol_that_is_named(tmp_path, capsys):
  config = _config({"data.image_protocol": "siglip"})
  got = run_inputs.find_protocol(tmp_path, config)
  assert (got.name, got.resize, got.size) == ("siglip", "squash", 16)
  said = capsys.readouterr().err
  assert "of data.image_protocol=siglip; data.augmentation trains on" in said
  with pytest.raises(ValueError, match="data.image_protocol must be one of"):
    _config({"data.image_protocol": "sigclip"})


def test_protocol_lies_in_the_run(tmp_path):
  config = _config({"data.augmentation.resize": "squash"})
  fresh_run.write(tmp_path / "run", config)
  first = run_inputs.find_protocol(tmp_path / "run", config)
  other = dataclasses.replace(first, interpolation="bilinear")
  model_inputs.write_protocol(other, tmp_path / "run")
  assert run_inputs.find_protocol(tmp_path / "run", config) == other
  # Another field asks for another protocol.
  changed = _config(
    {"data.augmentation.resize": "squash", "data.image_protocol": "vit"}
  )
  assert run_inputs.find_protocol(tmp_path / "run", changed).name == "vit"


def test_a_damaged_protocol_is_refused(tmp_path):
  config = _config()
  fresh_run.write(tmp_path / "run", config)
  protocol = run_inputs.find_protocol(tmp_path / "run", config)
  other = dataclasses.replace(protocol, size=8, resize_size=8)
  model_inputs.write_protocol(other, tmp_path / "run")
  with pytest.raises(ValueError, match="size 8; expected data.image_size="):
    run_inputs.find_protocol(tmp_path / "run", config)
  (tmp_path / "run" / model_inputs.IMAGE_PROTOCOL).write_text("{")
  new = _config({"init_from": str(tmp_path / "run")})
  with pytest.raises(ValueError, match="no image protocol.*from a copy"):
    run_inputs.find(tmp_path / "new", new, begun=False)


def test_start_from_a_run(tmp_path, capsys):
  """Its vocabulary and protocol are taken, whatever the new data are."""
  first = _config(
    {"data.tokenizer": "bpe", "data.augmentation.resize": "squash"}
  )
  made = _bpe(tmp_path, ["a red cat on a mat", "a dog and two dogs"] * 5)
  _run(tmp_path / "first", first, made)
  source = {"data.tokenizer": "bpe", "init_from": str(tmp_path / "first")}
  config = _config(source | {"data.num_tokens": 9, "model.text.num_tokens": 9})
  inputs = run_inputs.find(tmp_path / "new", config, begun=False)
  assert inputs.tokenizer.num_tokens == 9
  np.testing.assert_array_equal(
    inputs.tokenizer(TEXTS[1:2]), made(TEXTS[1:2])[:, :9]
  )
  assert inputs.image_protocol.resize == "squash"
  said = capsys.readouterr().err
  assert f"Tokenizer: that of {tmp_path / 'first'}" in said
  assert "data.augmentation trains on another geometry: shorter side" in said


def test_start_with_another_vocabulary_is_refused(tmp_path):
  first = _config({"data.tokenizer": "bpe"})
  _run(tmp_path / "first", first, _bpe(tmp_path, ["a red cat on a mat"] * 5))
  changes = {"data.tokenizer": "bytes", "init_from": str(tmp_path / "first")}
  with pytest.raises(
    ValueError,
    match='"bytes".* gives other ids than the tok.*give another data.tokenizer',
  ):
    run_inputs.find(tmp_path / "new", _config(changes), begun=False)
  changes["init_except"] = ("txt/token_embedding",)
  inputs = run_inputs.find(tmp_path / "new", _config(changes), begun=False)
  assert inputs.tokenizer.vocab_size == 258


def test_start_from_files_without_a_tokenizer(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(families, "FAMILIES", (mirror,))
  monkeypatch.setattr(families, "IMAGE_PROTOCOLS", {"mirror": "siglip"})
  config = _config()
  params = mirror.random_params(config.model)
  folder = mirror.write(tmp_path / "model", config.model, params)
  changes = {"init_from": str(folder)}
  with pytest.raises(ValueError, match="has no tokenizer .*would train one"):
    run_inputs.find(
      tmp_path / "run",
      _config({**changes, "data.tokenizer": "bpe"}),
      begun=False,
    )
  changed = _config({**changes, "data.tokenizer": "bytes"})
  inputs = run_inputs.find(tmp_path / "run", changed, begun=False)
  assert inputs.image_protocol.resize == "squash"  # the model's
  assert '"bytes" is taken to be its own' in capsys.readouterr().err


def test_a_run_of_an_earlier_version(tmp_path, capsys):
  """It holds neither; the field that decides its protocol has its default."""
  members = {"a.png": b"", "a.txt": b"a cat", "b.png": b"", "b.txt": b"a dog"}
  tars.write(tmp_path / "a.tar", members)
  config = _config({"data.tokenizer": "bytes"})
  fresh_run.write(tmp_path / "run", config)
  path = tmp_path / "run" / workdir.CONFIG
  values = json.loads(path.read_text())
  del values["config"]["data"]["image_protocol"]
  path.write_text(json.dumps(values))
  started_with = workdir.read_config(tmp_path / "run")
  assert started_with == config
  inputs = run_inputs.find(tmp_path / "run", started_with, begun=True)
  assert inputs.tokenizer.vocab_size == 258
  assert isinstance(inputs.image_protocol, image_protocols.Protocol)
  assert "holds no vocabulary" not in capsys.readouterr().err
