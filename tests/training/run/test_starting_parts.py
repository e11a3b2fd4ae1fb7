"""Captioners and decoders that a run takes over from another model."""

import dataclasses

import jax
import numpy as np
import pytest

from models.pretrained.fused import open_clip_coca
from runtime import mesh as mesh_lib
from runtime import sections
from tests import tiny_coca, tiny_joint
from tests.inference import fresh_run
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror
from training import config as config_lib
from training import objectives
from training.run import starting_weights


def _read(config, **fields):
  config = dataclasses.replace(config, **fields)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(1, 1, 1), jax.devices()[:1])
  return sections.flat(starting_weights.read(config, mesh), "/")


def _write_run(folder, config):
  """Write a run of random parameters, its parts included; return them."""
  shapes = sections.flat(objectives.variable_shapes(config), "/")
  rng = np.random.default_rng(0)
  params = {
    path: np.asarray(rng.standard_normal(x.shape), np.float32)
    for path, x in shapes.items()
  }
  fresh_run.write_params(folder, config, params)
  return params


def _assert_equal(got, expected):
  assert got.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_array_equal(np.asarray(got[path]), array, path)


def _joint(arg="decoder", **changes):
  values = tiny_joint.get_config(arg)
  values.update_from_flattened_dict(changes)
  return config_lib.from_mapping(values.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "name", "field", "other"),
  [
    (tiny_coca.make_config(), "captioner", "captioning",
     {"num_heads": 4}),
    (_joint(), "decoder", "decoding", {"depth": 2}),
  ],
)  # fmt: skip
def test_a_run_gives_its_part(config, name, field, other, tmp_path, capsys):
  source = tmp_path / "source"
  saved = _write_run(source, config)
  got = _read(config, init_from=str(source))
  _assert_equal(got, saved)
  said = capsys.readouterr().err
  assert f"Read {len(saved)} of {len(saved)} arrays from {source}" in said
  assert "Not taken over" not in said

  # By init_except the part begins anew, and the towers alone are read.
  anew = (rf"{name}/.*",)
  towers = {x: y for x, y in saved.items() if not x.startswith(name)}
  got = _read(config, init_from=str(source), init_except=anew)
  _assert_equal(got, towers)
  assert f"Not taken over from {source}: {name}" in capsys.readouterr().err
  got = _read(config, init_image_from=str(source))
  _assert_equal(got, {x: y for x, y in saved.items() if x.startswith("img")})
  assert f"Not taken over from {source}: {name}" in capsys.readouterr().err

  section = getattr(config, field)
  made = getattr(section, name)
  section = dataclasses.replace(
    section, **{name: dataclasses.replace(made, **other)}
  )
  changed = dataclasses.replace(config, **{field: section})
  (number,) = other
  with pytest.raises(ValueError, match="its .* is another one") as raised:
    _read(changed, init_from=str(source))
  for words in (
    f"--config.init_from={source}: ",
    f"{field}.{name}.{number} is {other[number]} in the run,"
    f" {getattr(made, number)} there",
    f"init_except=('{name}/.*',)",
  ):
    assert words in str(raised.value)


@pytest.mark.slow
def test_parts_that_one_of_two_runs_has(tmp_path, capsys):
  both, pairs = _joint("all"), _joint("")
  source, plain = tmp_path / "source", tmp_path / "plain"
  saved = _write_run(source, both)
  _write_run(plain, pairs)
  got = _read(pairs, init_from=str(source))
  parts = ("decoder/", "distilling/")
  _assert_equal(
    got, {x: y for x, y in saved.items() if not x.startswith(parts)}
  )
  said = capsys.readouterr().err
  assert f"Not taken over from {source}: decoder, distilling\n" in said
  got = _read(_joint(), init_from=str(plain))
  assert not any(path.startswith("decoder") for path in got)
  said = capsys.readouterr().err
  assert f"{plain} has no decoder: it begins anew\n" in said


def test_ids_of_other_bins(tmp_path):
  source = tmp_path / "source"
  _write_run(source, _joint())
  other = _joint(**{"data.regions.num_bins": 9})
  with pytest.raises(ValueError, match="num_bins is 9 in the run, 8 there"):
    _read(other, init_from=str(source))


def _published(tmp_path):
  """Return a published CoCa, its files, and a config of the same sizes."""
  found, _ = goldens.read("tests/models/decoding/golden/coca.npz")
  folder = tmp_path / "coca"
  folder.mkdir()
  mirror.write_source(folder, found)
  coca = open_clip_coca.read(found)
  config = tiny_coca.make_config()
  captioning = dataclasses.replace(config.captioning, captioner=coca.captioner)
  return (
    *(coca, folder),
    dataclasses.replace(config, model=coca.model, captioning=captioning),
  )


@pytest.mark.slow
def test_a_published_coca_gives_its_captioner(tmp_path, capsys):
  coca, folder, config = _published(tmp_path)
  got = _read(config, init_from=str(folder))
  expected = coca.params | {"captioner": coca.captioner_params}
  _assert_equal(got, sections.flat(expected, "/"))
  towers = _read(config, init_from=str(folder), init_except=("captioner/.*",))
  _assert_equal(towers, sections.flat(coca.params, "/"))
  assert f"Not taken over from {folder}: captioner" in capsys.readouterr().err

  made = dataclasses.replace(coca.captioner, num_heads=2, num_tokens=40)
  with pytest.raises(ValueError, match="its captioner is another") as raised:
    _read(
      dataclasses.replace(
        config,
        captioning=dataclasses.replace(config.captioning, captioner=made),
      ),
      init_from=str(folder),
    )
  assert "captioner.num_heads is 2 in the run, 4 there" in str(raised.value)
  # A limit, which no weight has.
  assert "num_tokens" not in str(raised.value)


def test_a_model_without_a_captioner(tmp_path, capsys):
  _, folder, config = _published(tmp_path)
  found, _ = goldens.read("tests/models/decoding/golden/coca.npz")
  clip = dataclasses.replace(
    found,
    config={
      "model_cfg": {
        name: x
        for name, x in found.config["model_cfg"].items()
        if name != "multimodal_cfg"
      }
    },
    tensors={
      name: x
      for name, x in found.tensors.items()
      if not name.startswith("text_decoder")
    },
  )
  folder = tmp_path / "clip"
  folder.mkdir()
  mirror.write_source(folder, clip)
  got = _read(config, init_from=str(folder))
  assert not any(path.startswith("captioner") for path in got)
  assert f"{folder} has no captioner: it begins anew" in capsys.readouterr().err
