"""Recipes: configs, slices and pairs that go together, and their commands."""

import dataclasses

import pytest

from experiments.recipes import digests, plan, plans, recipes, tables
from runtime import mesh as mesh_lib
from training.plan import topology as topology_lib

RECIPES = [*recipes.RECIPES.values()]
PLANNED = [x for x in RECIPES if plans.read(plans.FOLDER, x.name) is not None]
each = pytest.mark.parametrize("recipe", RECIPES, ids=lambda x: x.name)
each_planned = pytest.mark.parametrize("recipe", PLANNED, ids=lambda x: x.name)
AGAIN = "python -m experiments.recipes.plan remakes it"


def test_number_and_folders():
  # Each baseline of configs/ has a recipe, and no two have one name.
  assert len(RECIPES) >= 20
  names = {x.name for x in RECIPES}
  assert len(names) == len(RECIPES)
  assert {x.module for x in RECIPES} >= {
    *("align", "bioclip", "clip", "clip_rsicd", "clipbert", "coca", "dfn"),
    *("fashionclip", "florence", "lit", "metaclip", "openclip", "plip"),
    *("pubmedclip", "siglip", "siglip2", "streetclip", "unicl"),
  }


@each
def test_config_reads_the_pairs(recipe):
  config = digests.config_of(recipe)
  # Epochs are cut to whole steps, by at most 0.2 %.
  assert config.total_steps * config.batch_size == pytest.approx(
    recipe.pairs, rel=2e-3
  )


@each
def test_batch_fits_the_slice(recipe):
  config = digests.config_of(recipe)
  topology = topology_lib.parse(recipe.topology, recipe.num_slices)
  assert topology.chip
  data, *others = mesh_lib.MeshConfig(**config.mesh).shape(recipe.num_chips)
  assert data % recipe.num_slices == 0
  shape = (data // recipe.num_slices, *others)
  # jax.make_mesh splits axes of v5e alone.
  if not recipe.topology.startswith("v5e:"):
    assert shape in mesh_lib.layouts(topology.shape)
  parts = recipe.num_chips * config.num_microbatches * config.model.remat_chunks
  assert config.batch_size % parts == 0


@each_planned
def test_plan_is_of_this_config(recipe):
  record = plans.read(plans.FOLDER, recipe.name)
  made = {
    "config": digests.config(recipe),
    "slice": digests.slices(recipe),
    "counting": digests.counting(),
  }
  old = {name: record["digests"][name] for name in made}
  assert made == old, AGAIN
  assert plans.figures(recipe, record["plan"]) == record["figures"], AGAIN


def test_tables_are_of_the_plans():
  records = {x.name: plans.read(plans.FOLDER, x.name) for x in RECIPES}
  stale = tables.stale(plan.ROOT / "experiments", RECIPES, records)
  assert not stale, "python -m experiments.recipes.plan --tables remakes them"


def test_unknown_name():
  assert recipes.named([]) == RECIPES
  assert [x.name for x in recipes.named(["siglip_b16"])] == ["siglip_b16"]
  with pytest.raises(ValueError, match="--only .*got siglip_b15; known: "):
    recipes.named(["siglip_b15"])


def test_launch_lines():
  lines = recipes.RECIPES["siglip_b16"].launch_lines()
  # Numbers of v4's types count cores, two a chip.
  assert lines[0] == (
    "sed 's/v5litepod-16/v4-64/; s/v2-alpha-tpuv5-lite/tpu-ubuntu2204-base/'"
    " launch/tpu-pod-queued.yaml > launch/v4-64.yaml"
  )
  command = "\n".join(lines[1:]).replace(" \\\n ", "")
  assert command == (
    "python main.py --task=launch --on=launch/v4-64.yaml --"
    " --config=configs/siglip.py:b16 --workdir=gs://BUCKET/runs/siglip_b16"
    " --config.data.sources.main.path='PATH/{00000..41407}.tar'"
    " --config.data.tokenizer_path=c4_en.model"
  )


def test_launch_lines_of_one_machine_and_of_slices():
  lines = recipes.RECIPES["clip_rsicd_adam"].launch_lines()
  assert lines[0].startswith("python main.py --task=launch --on=launch/tpu-vm")
  two = dataclasses.replace(recipes.RECIPES["coca_b32"], num_slices=2)
  assert two.launch_lines()[:2] == [
    "TPU_TYPE=v5litepod-256 NUM_SLICES=2 \\",
    "  CLUSTER=NAME ZONE=ZONE \\",
  ]
  assert "--num_slices=2" in two.plan_flags()
  assert two.num_chips == 512
