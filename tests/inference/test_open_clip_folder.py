"""--task=export --format=open_clip: the files beside the weights."""

import dataclasses
import json

import numpy as np
import pytest

from inference import export, open_clip_folder
from inference import model as model_lib
from input_pipeline.images import image_protocols
from runtime import sections
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

# Changes of the run of tests/tiny.py.
SIGLIP = {
  "model.image.projection": False,
  "model.text.pool": "last",
  "model.text.mask_padding": False,
  "model.text.projection_bias": True,
}


def test_a_run_of_siglip_and_back(tmp_path, capsys):
  config = runs.make_config(SIGLIP)
  assert config.model.image.activation == "gelu_tanh"
  params = fresh_run.write(tmp_path / "run", config, bias=-9.5)
  out = tmp_path / "out"
  assert export.run(tmp_path / "run", "open_clip", str(out), as_json=True) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts["described"]
  assert facts["files"] == [
    "README.md",
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "timm/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
  ]
  written = json.loads((out / "open_clip_config.json").read_text())
  described = json.loads((out / "timm/config.json").read_text())
  assert described == written["timm_cfg"]
  assert described["model_args"]["act_layer"] == "gelu_tanh"
  model_cfg = written["model_cfg"]
  # open_clip adds no bias to the logits of a model without these two.
  assert model_cfg["custom_text"]
  assert model_cfg["init_logit_bias"] == -9.5
  vision = model_cfg["vision_cfg"]
  assert vision["timm_model_name"] == f"local-dir:{out / 'timm'}"
  assert model_cfg["text_cfg"]["hf_tokenizer_name"] == "out"
  assert model_cfg["text_cfg"]["tokenizer_kwargs"] == {"clean": "lower"}
  # As its evaluations see images.
  assert written["preprocess_cfg"]["resize_mode"] == "shortest"

  moved = out.rename(tmp_path / "moved")
  ours, theirs = model_lib.load(tmp_path / "run"), model_lib.load(moved)
  assert theirs.family == "open_clip"
  got = sections.flat(theirs.params, "/")
  assert got.keys() == params.keys()
  for path, array in params.items():
    assert np.asarray(got[path]).tobytes() == array.tobytes(), path
  # No text of spaces alone, which open_clip strips to "".
  texts = ["Woman firefighter", "a very long caption indeed", "家 ﬁ"]
  np.testing.assert_array_equal(
    theirs.make_tokenizer()(texts), ours.make_tokenizer()(texts)
  )
  protocols = [x.make_image_protocol() for x in (ours, theirs)]
  image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
  np.testing.assert_array_equal(*(x.apply(image) for x in protocols))


def test_a_published_folder_keeps_its_tokenizer(tmp_path, capsys):
  found, _ = goldens.read(goldens.FOLDER / "open_clip_siglip.npz")
  fields = {
    "hf_tokenizer_name": "an/id",
    "tokenizer_kwargs": {"clean": "canonicalize"},
  }
  model_cfg = found.config["model_cfg"]
  text_cfg = model_cfg["text_cfg"] | fields
  config = found.config | {"model_cfg": model_cfg | {"text_cfg": text_cfg}}
  (tmp_path / "model").mkdir()
  mirror.write_source(
    tmp_path / "model", dataclasses.replace(found, config=config)
  )
  export.run(tmp_path / "model", "open_clip", str(tmp_path / "out"))
  printed = capsys.readouterr().out
  assert "No tokenizer files: there are none in" in printed
  assert "where the folder is moved" in printed
  written = json.loads((tmp_path / "out/open_clip_config.json").read_text())
  assert fields.items() <= written["model_cfg"]["text_cfg"].items()


def _fields(make_tokenizer, vocab_size):
  found, _ = goldens.read(goldens.FOLDER / "open_clip_vit.npz")
  config, _ = goldens.load(export.families.find(found), found)
  text = dataclasses.replace(config.text, vocab_size=vocab_size)
  model = model_lib.Model(
    path="run",
    family=model_lib.RUN,
    config=dataclasses.replace(config, text=text),
    params={},
    make_image_protocol=lambda: None,
    make_tokenizer=make_tokenizer,
    loss="softmax",
    mesh=None,
  )
  return open_clip_folder._tokenizer_fields(model, "out")


def test_only_clip_s_vocabulary_needs_no_name():
  def missing():
    raise ValueError("no file")

  assert _fields(missing, 49_408) == {}
  # open_clip then says that there are no files, and does not take CLIP's.
  assert _fields(missing, 32_000) == {"hf_tokenizer_name": "out"}


def test_a_crop_within_the_square_is_refused():
  protocol = image_protocols.PROTOCOLS["imagenet"]
  with pytest.raises(ValueError, match="crops 224 of 256 pixels"):
    image_protocols.to_open_clip(protocol)
  for name in ("clip", "siglip", "vit"):
    protocol = image_protocols.PROTOCOLS[name].at(96)
    again = image_protocols.from_open_clip(
      image_protocols.to_open_clip(protocol)
    )
    fields = {"name": name, "source": protocol.source}
    fields["rounding"] = protocol.rounding  # open_clip's is its own
    assert dataclasses.replace(again, **fields) == protocol
