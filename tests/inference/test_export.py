"""--task=export: the files say what the model is, to the bit, or it refuses."""

import dataclasses
import json
import re

import numpy as np
import pytest
import safetensors

from inference import export
from inference import model as model_lib
from input_pipeline.images import image_protocols
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import rules, tokenizer
from models.pretrained import comparing, families, mapping
from runtime import sections
from tests import runs
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

# All families that can be written, by the golden files that they have.
GOLDENS = [
  (form, families.name(family), path.stem)
  for form, written in families.EXPORTS.items()
  for family in written
  for path in sorted(goldens.FOLDER.glob(f"{families.name(family)}*.npz"))
  if path.stem.removeprefix(families.name(family))[:1] in ("", "_")
]


@pytest.fixture
def _only_mirror(monkeypatch):
  monkeypatch.setattr(families, "FAMILIES", (mirror,))
  monkeypatch.setattr(families, "IMAGE_PROTOCOLS", {"mirror": "siglip"})
  exports = {"hf": (mirror,), "open_clip": ()}
  monkeypatch.setattr(families, "EXPORTS", exports)


@pytest.fixture(scope="module")
def model():
  """Return a tiny model's config and parameters."""
  config = runs.make_config().model
  return config, mirror.random_params(config)


def _assert_same_params(got, expected):
  got = sections.flat(got, "/")
  assert got.keys() == expected.keys()
  for path, array in expected.items():
    assert got[path].shape == array.shape
    assert np.asarray(got[path]).tobytes() == np.asarray(array).tobytes(), path


@pytest.mark.parametrize(("form", "name", "golden"), GOLDENS)
def test_every_family_is_written_as_it_was(form, name, golden):
  found, _ = goldens.read(goldens.FOLDER / f"{golden}.npz")
  family = families.find(found)
  config, params = goldens.load(family, found)
  params.setdefault("log_scale", np.float32(0))
  params.setdefault("bias", np.float32(0))
  written = export.write(config, mapping.nested(params), form, prefer=name)
  assert written.family == name
  left = set(found.tensors) - set(written.tensors)
  assert not any(
    name for name in left if not re.fullmatch("|".join(family.IGNORED), name)
  )
  for tensor, array in written.tensors.items():
    assert array.shape == found.tensors[tensor].shape
    np.testing.assert_array_equal(array, found.tensors[tensor], tensor)


@pytest.mark.usefixtures("_only_mirror")
def test_a_published_model_there_and_back(model, tmp_path, capsys):
  source = mirror.write(tmp_path / "model", *model)
  for name in ("vocab.json", "merges.txt", "README.md"):
    (source / name).write_text(f"of {name}")
  assert export.run(source, "hf", str(tmp_path / "out")) == 0
  assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
    "README.md",
    "config.json",
    "merges.txt",
    "model.safetensors",
    "preprocessor_config.json",
    "vocab.json",
  ]
  assert (tmp_path / "out" / "merges.txt").read_text() == "of merges.txt"
  with safetensors.safe_open(
    tmp_path / "out" / "model.safetensors", framework="np"
  ) as file:
    assert file.metadata() == {"format": "pt"}
  _assert_same_params(model_lib.load(tmp_path / "out").params, model[1])
  assert "tensors of mirror in" in capsys.readouterr().out


@pytest.mark.usefixtures("_only_mirror")
def test_a_run(tmp_path, capsys):
  run = tmp_path / "run"
  fresh_run.write(run, runs.make_config())
  out = tmp_path / "out"
  assert export.run(run, "hf", str(out), as_json=True) == 0
  facts = json.loads(capsys.readouterr().out)
  assert facts["files"] == [
    "README.md",
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
  ]
  ours, theirs = model_lib.load(run), model_lib.load(out)
  assert ours.step == 3
  assert theirs.family == "mirror"
  assert not comparing.differences(theirs.config, ours.config)
  _assert_same_params(theirs.params, sections.flat(ours.params, "/"))
  np.testing.assert_allclose(
    (theirs.scale, theirs.bias), (ours.scale, ours.bias)
  )
  texts = ["Woman firefighter", "  ", "a very long caption indeed", "家 ﬁ"]
  np.testing.assert_array_equal(
    theirs.make_tokenizer()(texts), ours.make_tokenizer()(texts)
  )
  image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
  np.testing.assert_array_equal(
    *(x.make_image_protocol().apply(image) for x in (ours, theirs))
  )


@pytest.mark.usefixtures("_only_mirror")
def test_what_cannot_be_said_is_named(model):
  config, params = model
  text = dataclasses.replace(config.text, causal=True, dropout=0.1)
  config = dataclasses.replace(config, text=text)
  with pytest.raises(
    ValueError,
    match=r"no family with this model:\n  mirror: model\.text\.causal is"
    r" True, it would be False$",
  ):
    export.write(config, mapping.nested(params), "hf")


def test_one_tower_of_clip_is_refused_in_three_lines(tmp_path):
  found, _ = goldens.read(goldens.FOLDER / "hf_clip.npz")
  config, params = goldens.load(families.find(found), found)
  config = dataclasses.replace(config, image=None)
  params = {x: a for x, a in params.items() if not x.startswith("img/")}
  with pytest.raises(ValueError, match="no family with this model") as error:
    export.write(config, mapping.nested(params), "hf", prefer="hf_clip")
  assert len(str(error.value).splitlines()) == 3
  assert re.search(r"nor have \d other families$", str(error.value))


@pytest.mark.usefixtures("_only_mirror")
def test_cleaning_that_transformers_lacks_is_said(
  model, tmp_path, capsys, monkeypatch
):
  ours = model_lib.load(mirror.write(tmp_path / "model", *model))
  for clean in ("open_clip_canonicalize", "none"):
    rule = dataclasses.replace(rules.run(16), clean=clean)
    made = tokenizer.Tokenizer(bytes_lib.Bytes(), rule)
    cleaned = dataclasses.replace(ours, make_tokenizer=lambda made=made: made)
    monkeypatch.setattr(model_lib, "load", lambda _, cleaned=cleaned: cleaned)
    export.run("model", "hf", str(tmp_path / clean))
    is_said = "cleaned by open_clip's rule" in capsys.readouterr().out
    assert is_said == (clean != "none")


@pytest.mark.usefixtures("_only_mirror")
def test_training_and_unread_fields_do_not_matter(model):
  config, params = model
  image = dataclasses.replace(config.image, dropout=0.1)
  config = dataclasses.replace(
    config, image=image, dtype="bfloat16", remat="block"
  )
  written = export.write(config, mapping.nested(params), "hf", prefer="other")
  assert written.family == "mirror"


@pytest.mark.usefixtures("_only_mirror")
@pytest.mark.parametrize(
  ("form", "out", "words"),
  [
    (
      "pt",
      "out",
      "--format must be one of hf, hf_code, open_clip, peft, onnx, stablehlo;",
    ),
    ("hf", "", "--out is missing"),
    ("hf", "model", "--out=.*model must be a new or empty folder"),
    ("open_clip", "out", "--format=open_clip has no family with this model"),
  ],
)
def test_mistakes(form, out, words, model, tmp_path):
  source = mirror.write(tmp_path / "model", *model)
  with pytest.raises(ValueError, match=words):
    export.run(source, form, out and str(tmp_path / out))
  assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.usefixtures("_only_mirror")
def test_what_crops_first_has_no_processor(model, tmp_path, monkeypatch):
  source = mirror.write(tmp_path / "model", *model)
  monkeypatch.setattr(
    families, "IMAGE_PROTOCOLS", {"mirror": "efficientnet_lite"}
  )
  assert "efficientnet_lite" in image_protocols.PROTOCOLS
  with pytest.raises(ValueError, match="no processor of transformers does"):
    export.run(source, "hf", str(tmp_path / "out"))
  # Nothing half-written, no temporary folder either.
  assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_code_for_transformers_and_back(tmp_path):
  """Pools and masks that no class of transformers has, as the quickstart's."""
  config = runs.make_config(
    {"model.image.pool": "gap", "model.text.pool": "mean"}
  )
  params = fresh_run.write(tmp_path / "run", config)
  with pytest.raises(ValueError, match="--format=hf has no family"):
    export.run(tmp_path / "run", "hf", str(tmp_path / "hf"))
  out = tmp_path / "out"
  export.run(tmp_path / "run", "hf_code", str(out))
  facts = json.loads((out / "config.json").read_text())
  code = facts["auto_map"]["AutoModel"].partition(".")[0]
  assert f"class {facts['architectures'][0]}" in (out / f"{code}.py").read_text(
    "utf-8"
  )
  theirs = model_lib.load(out)
  assert theirs.family == "hf_code"
  assert not comparing.differences(theirs.config, config.model, "_init")
  _assert_same_params(theirs.params, params)
  image = dataclasses.replace(config.model.image, position="sincos2d")
  strange = dataclasses.replace(config.model, image=image)
  with pytest.raises(ValueError, match=r"model\.image\.position: expected"):
    export.write(strange, mapping.nested(params), "hf_code")
  text = dataclasses.replace(config.model.text, pool="cls")
  strange = dataclasses.replace(config.model, text=text)
  with pytest.raises(ValueError, match=r"model\.text\.pool: expected one of"):
    export.write(strange, mapping.nested(params), "hf_code")
