"""ClipBERT's recipes: they build, in the published sizes and batches."""

import jax
import numpy as np
import pytest

from configs import clipbert
from input_pipeline.fusing import fused_data
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import objectives, train, train_step
from training.fused import run

_VARIANTS = (*clipbert.RECIPES, *(f"mini_{x}" for x in clipbert._MINIS))


def _config(variant: str) -> config_lib.Config:
  return config_lib.checked(clipbert.get_config(variant).to_dict())


@pytest.mark.parametrize("variant", _VARIANTS)
def test_fields_are_accepted(variant: str):
  config = _config(variant)
  assert config.total_steps > 10 * config.optimizer.warmup_steps - 10


def test_recipes_are_the_published_rows():
  """fps, frames, clips, pixels, tokens, batch of one GPU, epochs."""
  rows = {
    name: (
      *(x.fps, x.num_frames, x.num_clips, x.image_size, x.num_tokens),
      x.num_epochs,
    )
    for name, x in clipbert.RECIPES.items()
  }
  assert rows == {
    "pretraining": (0, 1, 1, 768, 30, 40),
    "msrvtt_retrieval": (2, 2, 8, 448, 20, 20),
    "didemo_retrieval": (2, 2, 8, 448, 100, 20),
    "activitynet_retrieval": (1, 2, 4, 448, 100, 80),
    "tgif_action": (1, 1, 1, 768, 25, 15),
    "tgif_transition": (1, 1, 1, 768, 25, 15),
    "tgif_frameqa": (1, 1, 1, 768, 25, 15),
    "msrvtt_qa": (2, 2, 8, 448, 100, 10),
    "vqa": (0, 1, 1, 768, 20, 5),
  }
  assert set(clipbert.EXPECTED) == set(rows) - {"pretraining"}


def test_sizes_are_the_papers():
  config = _config("msrvtt_retrieval")
  objective = objectives.make(config)
  assert objective.batch.images.shape == (64, 8, 2, 448, 448, 3)
  program = train_step.make(config, mesh_lib.make_mesh(config.mesh), objective)
  params = program.state.params
  table = params["txt"]["token_embedding"]
  assert table.shape == (30_522, 768)
  assert params["visual"]["row"].shape == (100, 768)
  assert params["visual"]["encoder"]["kernel"].shape == (3, 3, 2048, 768)
  assert params["answers"]["up"]["kernel"].shape == (768, 1536)
  assert params["answers"]["down"]["kernel"].shape == (1536, 2)
  cnn = sum(np.prod(x.shape) for x in jax.tree.leaves(params["cnn"]))
  assert cnn == 23_508_032
  # BERT-base with its 512 positions, of which texts use 20.
  bert = sum(np.prod(x.shape) for x in jax.tree.leaves(params["txt"]))
  assert bert == 109_482_240


def test_pretraining_predicts_words():
  config = _config("mini_pretraining")
  params = jax.eval_shape(
    objectives.make(config).init_params, jax.random.key(0)
  )
  assert params["matching"]["kernel"].shape == (64, 2)
  assert params["words"]["bias"].shape == (264,)
  assert "answers" not in params


def test_faults_name_their_field():
  values = clipbert.get_config("mini_qa").to_dict()
  values["fusion"] |= {"task": "ranking", "num_choices": 1}
  values["fusion"]["aggregate"] = "sum"
  values["model"]["text"]["pool"] = "cls"
  values["text_lengths"] = (8,)
  with pytest.raises(ValueError, match="problems") as error:
    config_lib.checked(values)
  for message in (
    "fusion.task must be one of pretraining, retrieval",
    "fusion.num_choices must be at least 2",
    "fusion.aggregate must be one of",
    "model.text.pool must be 'pooler'",
    "text_lengths must be ()",
  ):
    assert message in str(error.value)
  values = clipbert.get_config("mini_pretraining").to_dict()
  values["batch_size"] = 1
  values["data"]["video"]["clips"] = 2
  with pytest.raises(
    ValueError, match="batch_size must be at least 2"
  ) as error:
    config_lib.checked(values)
  assert "data.video.clips must be 0" in str(error.value)


def test_layouts_have_what_the_tasks_read():
  """A recipe's sources name the fields that its rows are made of."""
  for name in clipbert.LAYOUTS:
    config = _config(name)
    fused_data.check(config.fusion, config.data)
    run.check_tests(config)
    assert config.fusion.test_clips == 16


def test_a_dual_encoder_is_trained_by_another_task(tmp_path):
  """Data and evaluation of a dual encoder would be wrong ones."""
  message = 'fusion.kind must be "".*of --task=fuse'
  with pytest.raises(ValueError, match=message):
    train.check(_config("mini_qa"), tmp_path)
