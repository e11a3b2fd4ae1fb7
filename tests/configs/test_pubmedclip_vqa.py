"""Configs of PubMedCLIP's stage B: they build, in the paper's sizes."""

import dataclasses

import jax
import pytest

from configs import pubmedclip_vqa
from configs.parts import towers
from models.vqa import answering
from runtime import mesh as mesh_lib
from training import config as config_lib
from training import optimizer, train_state, train_step
from training.objectives import answers, denoising, routing
from training.run import workdir
from training.vqa import parts, pretraining, run

# Answers of VQA-RAD in the released code of QCR.
_SIZES = {"closed": 56, "open": 431, "all": 487}
# rad_qcr is built by the test of sizes.
_VARIANTS = ("rad_mevf", "slake_qcr", "mini")


def _config(variant: str, **image) -> config_lib.Config:
  values = pubmedclip_vqa.get_config(variant)
  if image:
    values.model.image = towers.resnet(values.data)
    values.data.image_size = image.pop("image_size")
    values.model.embed_dim = image.pop("embed_dim")
    values.model.image.update(image)
  return config_lib.checked(values.to_dict())


@pytest.mark.parametrize("variant", _VARIANTS)
def test_variants_build(variant: str):
  config = run.resolved(_config(variant), 3064, "test")
  objective = answers.make(config, 1000, _SIZES)
  mesh = mesh_lib.make_mesh(config.mesh)
  program = train_step.make(config, mesh, objective)
  assert program.state.params["words"]["tables"].shape[:2] == (2, 1000)
  assert "txt" not in program.state.params


@pytest.mark.parametrize(
  ("image", "num_in"),
  [
    ({}, 576),
    ({"image_size": 224, "embed_dim": 1024}, 1088),
    (
      {
        "image_size": 288,
        "embed_dim": 640,
        "width": 80,
        "depths": (4, 6, 10, 6),
        "num_heads": 40,
      },
      704,
    ),
  ],
  ids=["ViT-B/32", "RN50", "RN50x4"],
)
def test_sizes_are_the_papers(image, num_in: int):
  config = _config("rad_qcr", **image)
  objective = answers.make(config, 1000, _SIZES)
  params = jax.eval_shape(objective.init_params, jax.random.key(0))
  for head in ("closed", "open"):
    glimpses = params["fusion"][head]["glimpses"]
    kernel = glimpses["objects"]["dense"]["kernel"]
    assert kernel.shape == (10, num_in, 1024)
    logits = params["heads"][head]["out"]["dense"]["kernel"]
    assert logits.shape == (2048, _SIZES[head])
  assert params["autoencoder"]["features"]["kernel"].shape == (16_384, 64)
  assert params["question"]["input_kernel"].shape == (600, 3 * 1024)
  maps = params["router"]["maps"]
  assert [m["kernel"].shape[1] for m in maps.values()] == [256, 64, 2]
  if num_in == 576:
    with jax.set_mesh(mesh_lib.make_mesh(config.mesh)):
      outputs, _ = jax.eval_shape(objective.embed, params, {}, objective.batch)
    assert outputs.logits["open"].shape == (16, 431)


def test_mevf_has_the_papers_schedule():
  config = run.resolved(_config("rad_mevf"), 3064, "test")
  every = 3064 // 32
  assert config.total_steps == 20 * every
  factor = config.optimizer.make_schedule(config.total_steps)
  rates = [
    float(factor(epoch * every)) for epoch in (0, 1, 2, 3, 9, 10, 13, 18)
  ]
  assert rates == pytest.approx(
    [0.5, 1, 1.5, 2, 2, 1.5, 1.125, 2 * 0.75**5], rel=1e-6
  )


@pytest.mark.parametrize(
  ("variant", "num_pixels"), [("autoencoder", 128), ("mini_autoencoder", 32)]
)
def test_autoencoders_build(variant: str, num_pixels: int):
  config = _config(variant)
  objective = denoising.make(config)
  assert objective.batch.images.shape[1:] == (num_pixels, num_pixels, 3)
  program = train_step.make(config, mesh_lib.make_mesh(config.mesh), objective)
  # 3 x 3 kernels and biases of 1-64-32-16 channels, and of 16-32-32-64-1.
  down = 9 * (64 + 64 * 32 + 32 * 16) + 64 + 32 + 16
  up = 9 * (16 * 32 + 32 * 32 + 32 * 64 + 64) + 32 + 32 + 64 + 1
  assert train_state.count_params(program.state.params) == down + up


@pytest.mark.parametrize(
  ("variant", "layout", "width"),
  [
    ("rad_router", "vqa_rad", 1024),
    ("slake_router", "slake", 1024),
    ("mini_router", "vqa_rad", 96),
  ],
)
def test_routers_build(variant: str, layout: str, width: int):
  config = _config(variant)
  assert config.vqa.layout == layout
  config = run.resolved(config, 3064, "validation", "routing")
  assert config.total_steps == config.vqa.num_epochs * (3064 // 32)
  assert config.vqa.num_epochs == (20 if variant == "mini_router" else 200)
  assert config.checkpoint.select == f"{layout}_validation/routing"
  objective = routing.make(config, 1000)
  program = train_step.make(config, mesh_lib.make_mesh(config.mesh), objective)
  router = program.state.params["router"]
  assert [m["kernel"].shape[1] for m in router["maps"].values()] == [
    width // 4,
    width // 16,
    2,
  ]
  assert router["recurrent"]["hidden_kernel"].shape == (width, 3 * width)


def test_a_router_of_a_run_is_frozen():
  values = pubmedclip_vqa.get_config("rad_qcr")
  values.vqa.router_from = "runs/router"
  config = run.resolved(
    config_lib.checked(values.to_dict()), 3064, "validation"
  )
  made = answers.make(config, 1000, _SIZES)
  params = jax.eval_shape(made.init_params, jax.random.key(0))
  frozen = optimizer.frozen_params(config.optimizer, params)
  assert all(jax.tree.leaves(frozen.pop("router")))
  assert not any(jax.tree.leaves(frozen))


def test_faults_of_an_autoencoder_name_their_field(tmp_path):
  config = _config("mini_autoencoder")
  config = dataclasses.replace(
    config,
    init_from="model",
    data=dataclasses.replace(config.data, image_size=64),
    evaluate=dataclasses.replace(config.evaluate, holdout=0.0),
  )
  with pytest.raises(ValueError, match="problems") as error:
    pretraining.check(config, tmp_path)
  for message in (
    'init_from must be "" with vqa.trains="autoencoder"',
    "data.image_size must equal vqa.model.autoencoder_size=32",
    "evaluate.holdout must be above 0",
    "data.sources.main.path",
  ):
    assert message in str(error.value)
  values = pubmedclip_vqa.get_config("mini_autoencoder").to_dict()
  values["vqa"] |= {"noise_sigma": 0.0, "autoencoder_from": "runs/other"}
  with pytest.raises(ValueError, match=r"vqa\.noise_sigma must be") as error:
    config_lib.checked(values)
  assert 'vqa.autoencoder_from must be ""' in str(error.value)
  values["vqa"]["trains"] = "tower"
  with pytest.raises(ValueError, match=r"vqa\.trains must be one of"):
    config_lib.checked(values)


def test_faults_of_a_start_from_an_autoencoder(tmp_path):
  config = _config("rad_qcr")

  def fault(folder: str) -> str:
    vqa = dataclasses.replace(config.vqa, autoencoder_from=folder)
    with pytest.raises(ValueError, match=r"vqa\.autoencoder_from") as error:
      parts.check_early(dataclasses.replace(config, vqa=vqa))
    return str(error.value)

  assert "which has no run" in fault("runs/none")
  (tmp_path / workdir.CHECKPOINTS).mkdir()
  workdir.write_config(tmp_path, config)
  assert 'with "answers"' in fault(str(tmp_path))
  workdir.write_config(tmp_path, _config("mini_autoencoder"))
  assert "without one" in fault(str(tmp_path))


def test_faults_name_their_field(tmp_path):
  config = _config("rad_qcr")
  with pytest.raises(ValueError, match="vqa.path must be a folder"):
    run.check(config, tmp_path)
  off = dataclasses.replace(config.vqa, layout="")
  with pytest.raises(ValueError, match="vqa.layout must be"):
    run.check(dataclasses.replace(config, vqa=off), tmp_path)
  values = pubmedclip_vqa.get_config("rad_qcr").to_dict()
  values["vqa"]["model"]["kind"] = "san"
  values["vqa"]["layout"] = "vqa2"
  with pytest.raises(
    ValueError, match="vqa.model.kind must be one of"
  ) as error:
    config_lib.checked(values)
  assert "vqa.layout must be one of" in str(error.value)
  assert answering.HEADS["qcr"] == ("closed", "open")
