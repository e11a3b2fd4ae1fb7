"""A teacher is read in its sharding, and refused where it reads other rows."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from input_pipeline import tokenizers
from models.pretrained import families
from runtime import mesh as mesh_lib
from runtime import sections
from tests import tiny_curating
from tests.models.pretrained.families import mirror
from training import config as config_lib
from training.curating import teacher as teacher_lib
from training.run import run_inputs


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "teacher"


def _config(folder, **changes):
  values = tiny_curating.get_config()
  values.curating.teacher = str(folder)
  values.update_from_flattened_dict(changes)
  return config_lib.checked(values.to_dict())


def _mesh(*shape):
  devices = jax.devices()[: int(np.prod(shape))]
  return mesh_lib.make_mesh(mesh_lib.MeshConfig(*shape), devices)


def _tokenizer(config) -> tokenizers.Tokenizer:
  return run_inputs._made_tokenizer(config)


def test_a_run_is_read_split_as_the_model_that_learns(folder, tmp_path):
  _, want = tiny_curating.write_teacher(folder)
  config = _config(folder)
  teacher_lib.check(config)
  got = teacher_lib.read(config, _mesh(2, 2, 1), tmp_path, begun=False)
  flat = sections.flat(got, "/")
  assert {*flat} == {*want}
  for name, x in flat.items():
    np.testing.assert_array_equal(x, want[name], name)
  kernel = got["img"]["blocks"]["mlp"]["up"]["kernel"]
  assert kernel.sharding.spec == jax.P(None, "fsdp", "tensor")
  table = got["txt"]["token_embedding"]
  assert table.sharding.spec == jax.P("tensor", "fsdp")


def test_published_weights_are_read(folder, tmp_path, monkeypatch):
  monkeypatch.setattr(families, "FAMILIES", (mirror,))
  model = config_lib.checked(
    tiny_curating.get_config("teacher").to_dict()
  ).model
  params = mirror.random_params(model)
  mirror.write(folder, model, params)
  config = _config(folder)
  teacher_lib.check(config)
  got = teacher_lib.read(config, _mesh(1, 1, 1), tmp_path, begun=False)
  for name, x in sections.flat(got, "/").items():
    np.testing.assert_array_equal(x, params[name], name)


def test_a_run_that_has_begun_refuses_another_teacher(folder, tmp_path):
  tiny_curating.write_teacher(folder)
  config, mesh = _config(folder), _mesh(1, 1, 1)
  teacher_lib.read(config, mesh, tmp_path, begun=False)
  facts = json.loads((tmp_path / teacher_lib.NAME).read_text())
  teacher_lib.read(config, _mesh(2, 2, 2), tmp_path, begun=True)
  other = folder.with_name("other")
  tiny_curating.write_teacher(other, bias=-9.0)
  changed = _config(other)
  with pytest.raises(ValueError, match=f"of digest {facts['digest']}; got"):
    teacher_lib.read(changed, mesh, tmp_path, begun=True)
  # A run without a checkpoint begins anew.
  teacher_lib.read(changed, mesh, tmp_path, begun=False)


def test_a_rule_that_wins_for_no_parameter_of_the_teacher(folder):
  tiny_curating.write_teacher(folder)
  config = _config(folder)
  rules = ((r"img/mine", ("fsdp",)), *config.partition_rules)
  config = dataclasses.replace(config, partition_rules=rules)
  teacher_lib.abstract(teacher_lib.find(config), config, _mesh(2, 2, 1))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data.image_size": 32, "model.image.image_size": 32},
     "data.image_size=16, as the run does; got .*, which reads 32"),
    ({"data.num_tokens": 12, "model.text.num_tokens": 12},
     "data.num_tokens=8, as the run does; got .*, which reads 12"),
    ({"loss.name": "softmax"}, "loss.name='sigmoid'.*; got 'softmax'"),
    ({"model.lora.rank": 2, "model.lora.maps": (r".*/query",)},
     "model.lora.rank=2"),
  ],
)  # fmt: skip
def test_a_teacher_that_cannot_read_the_rows(folder, changes, message):
  values = tiny_curating.get_config("teacher")
  values.update_from_flattened_dict(changes)
  config = config_lib.checked(values.to_dict())
  folder.mkdir()
  (folder / "checkpoints").mkdir()
  teacher_lib.workdir.write_config(folder, config)
  with pytest.raises(ValueError, match=message):
    teacher_lib.check(_config(folder))


def test_a_teacher_without_bias(folder, tmp_path):
  tiny_curating.write_teacher(folder, bias=0.0)
  with pytest.raises(ValueError, match="bias of its logits is 0"):
    teacher_lib.read(_config(folder), _mesh(1, 1, 1), tmp_path, begun=False)


def test_no_model_and_a_folder_without_checkpoints(folder):
  with pytest.raises(ValueError, match="curating.teacher=.*does not exist"):
    teacher_lib.find(_config(folder))
  tiny_curating.write_teacher(folder)
  (folder / "checkpoints").rename(folder / "gone")
  with pytest.raises(ValueError, match="without its checkpoints/"):
    teacher_lib.find(_config(folder))


class _Codec:
  """Codec of characters, whose ids begin at a number."""

  def __init__(self, first):
    self.first, self.vocab_size, self.unk_id = first, 40, None

  def encode(self, text):
    return [ord(x) - 60 + self.first for x in text]

  def decode(self, ids):
    return "".join(chr(x + 60 - self.first) for x in ids)


def test_ids_are_compared_by_rule_and_vocabulary(folder, monkeypatch):
  teacher, _ = tiny_curating.write_teacher(folder)
  config = _config(folder)
  ours = _tokenizer(teacher)
  teacher_lib.check_inputs(config, ours)
  cased = dataclasses.replace(ours.rule, clean="none")
  if cased == ours.rule:
    cased = dataclasses.replace(ours.rule, eos_id=7)
  with pytest.raises(ValueError, match="tokenizer must have the run's rule"):
    teacher_lib.check_inputs(config, dataclasses.replace(ours, rule=cased))
  # Another format of a vocabulary has another digest, and the same ids.
  one, same, other = (
    tokenizers.Tokenizer(_Codec(first), ours.rule) for first in (0, 0, 1)
  )
  monkeypatch.setattr(teacher_lib.saved, "digest", id)
  teacher_lib._check_tokenizer(one, same)
  with pytest.raises(ValueError, match=re.escape("got [1] for '<', which is")):
    teacher_lib._check_tokenizer(one, other)


@pytest.mark.parametrize("resize", ["square", "squash"])
def test_another_geometry_is_said(folder, capsys, resize):
  """The teacher's images were cropped, the run's too, or squashed."""
  teacher, _ = tiny_curating.write_teacher(folder)
  config = _config(folder, **{"data.augmentation.resize": resize})
  teacher_lib.check_inputs(config, _tokenizer(teacher))
  is_said = "made for images of another geometry" in capsys.readouterr().err
  assert is_said == (resize == "squash")
