"""--task=plan, through main.py and piece by piece."""

import importlib.util
import json
import types

import jax
import pytest

from tests import runs
from training.plan import plan, plan_table
from training.plan import topology as topology_lib

needs_tpu_compiler = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None,
  reason="needs requirements-tpu.txt",
)
# Promised to whoever reads --json.
_FIELDS = {
  "topology",
  "chips",
  "batch_size",
  "fits",
  "hbm_gib",
  "argument_gib",
  "temp_gib",
  "peak_gib",
  "step_tflop",
  "collective_gb",
  "bound",
  "images_per_s_bound",
  "compile_s",
}


def _flops_of_tiny_model(config):
  """Forward FLOPs of one pair, from the sizes of its matrices."""

  def tower(tokens, settings):
    width, mlp = settings.width, settings.mlp_width
    layer = 2 * tokens * (4 * width**2 + 2 * width * mlp)
    layer += 2 * 2 * tokens**2 * width  # logits of attention, and its sum
    # The pooling head has one query: keys and values of all tokens.
    head = 2 * (2 * tokens * width**2 + 2 * width**2 + 2 * tokens * width)
    head += 2 * 2 * width * mlp
    return settings.depth * layer + head + 2 * width * config.model.embed_dim

  image = config.model.image
  tokens = image.num_tokens
  patches = 2 * tokens * 3 * image.patch_size**2 * image.width
  return (
    patches
    + tower(tokens, image)
    + tower(config.data.num_tokens, config.model.text)
  )


@pytest.mark.slow
def test_simulated_devices_through_main(runner, tmp_path):
  workdir = tmp_path / "plan"
  result = runner.run(workdir, "--task=plan", "--topology=cpu:8", "--json")
  assert result.code == 0, result.stderr
  got = json.loads(result.stdout)
  assert json.loads((workdir / plan.PLAN).read_text()) == got
  assert [p.name for p in workdir.iterdir()] == [plan.PLAN]
  assert got.keys() >= _FIELDS
  assert got["chips"] == 8
  assert got["mesh"] == {"data": 8, "fsdp": 1, "tensor": 1}
  assert got["batch_size"] == 16
  assert got["fits"] is True
  assert got["compile_s"] > 0
  # No figures are published for simulated devices.
  assert got["hbm_gib"] is got["bound"] is got["images_per_s_bound"] is None
  assert "batch 16: fits" in result.stderr

  config = runs.make_config()
  params = got["num_parameters"]
  assert got["parameters_gib"] * 2**30 == 4 * params
  # Two float32 moments, and a few counts of steps.
  assert 0 <= got["optimizer_gib"] * 2**30 - 8 * params < 100
  images, tokens = 2 * 16 * 16 * 3, 2 * 8 * 4
  assert got["batch_gib"] * 2**30 == images + tokens
  # Backward is two products for each one, except that no gradient reaches the
  # image: an eighth of the forward work at most, plus the loss, B x B.
  forward = 16 * _flops_of_tiny_model(config) / 1e12
  assert 2.8 * forward < got["model_tflop"] < 3.1 * forward
  assert got["step_tflop"] == got["model_tflop"]  # nothing is recomputed
  # XLA leaves a product out here and there (those with a constant).
  assert got["compiled_tflop"] == pytest.approx(got["step_tflop"], rel=0.05)
  assert got["unknown_loops"] == 0
  gradients = [row for row in got["collectives"] if row["kind"] == "all-reduce"]
  assert [row["axes"] for row in gradients] == ["data"]
  # Each gradient crosses a ring of 8 twice; the loss adds its embeddings.
  expected = 2 * 7 / 8 * 4 * params / 1e9
  assert expected < gradients[0]["gb"] < 1.05 * expected
  assert got["collective_gb"] == pytest.approx(
    sum(row["gb"] for row in got["collectives"])
  )


@pytest.mark.slow
@needs_tpu_compiler
def test_a_tpu_slice_through_main(runner):
  result = runner.run(
    None,
    "--task=plan",
    "--topology=v5e:2x2",
    "--config.batch_size=16",
    "--config.mesh.fsdp=2",
    "--config.model.dtype=bfloat16",
  )
  assert result.code == 0, result.stderr
  text = result.stdout
  for words in (
    "v5e:2x2, 4 devices",
    "data 2 x fsdp 2 x tensor 1",
    "usable                               15.75 GiB",
    "ICI (within a slice)",
    "<- bound",
    "over fsdp",
    "at most",
  ):
    assert words in text, text
  assert "v5e:2x2 batch 16: fits" in result.stderr


@pytest.mark.slow
@needs_tpu_compiler
def test_a_step_that_does_not_fit_through_main(runner):
  # 2**27 token embeddings of 16 float32: 8 GiB, and 16 GiB of moments.
  result = runner.run(
    None,
    "--task=plan",
    "--topology=v5e:2x2",
    f"--config.data.vocab_size={2**27}",
    "--config.batch_size=8",
    "--config.model.remat=block",
    "--json",
  )
  assert result.code == 1, result.stderr
  got = json.loads(result.stdout)
  assert got.keys() >= _FIELDS
  assert got["fits"] is False
  assert got["peak_gib"] is got["bound"] is None
  # The compiler's figure: parameters, two moments, and gradients.
  assert got["needs_gib"] > 24
  fsdp = got["alternatives"][-1]
  assert fsdp["flags"] == "--config.mesh.data=-1 --config.mesh.fsdp=4"
  assert fsdp["fits"]
  # A quarter of parameters and moments, and what the step needs beside.
  assert 6 < fsdp["peak_gib"] < 15.75
  assert got["largest_batch_size"] is None


@needs_tpu_compiler
def test_a_slice_that_does_not_exist(runner):
  result = runner.run(None, "--task=plan", "--topology=v5e:5x5")
  assert result.code == 1
  assert "error: --topology must be a slice that exists" in result.stderr
  assert "v5e:5x5" in result.stderr
  assert "Traceback" not in result.stderr


@needs_tpu_compiler
def test_a_mesh_that_the_slice_does_not_have(runner):
  result = runner.run(
    None,
    "--task=plan",
    "--topology=v4:4x4x4",
    "--config.batch_size=64",
    *("--config.mesh.data=8", "--config.mesh.fsdp=8"),
  )
  assert result.code == 1
  assert result.stderr.strip() == (
    "error: mesh.data=8, mesh.fsdp=8, mesh.tensor=1 cannot be laid on a slice"
    " of 4 x 4 x 4 chips, whose whole axes each must lie along; with"
    " mesh.tensor=1 these sizes can, data x fsdp: 1 x 64, 4 x 16, 16 x 4,"
    " 64 x 1"
  )


def test_topology_missing(runner):
  result = runner.run(None, "--task=plan")
  assert result.code == 1
  assert result.stderr.strip() == (
    "error: --topology is missing: --topology=v5e:16x16"
  )


def test_a_batch_that_the_mesh_does_not_divide(runner):
  result = runner.run(
    None, "--task=plan", "--topology=cpu:8", "--config.batch_size=12"
  )
  assert result.code == 1
  assert "batch_size must be a multiple" in result.stderr


@pytest.mark.parametrize(
  ("error", "gib"),
  [
    (
      "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required"
      " for HLO temporaries (190.73G) exceeds available HBM (15.75G).",
      190.73,
    ),
    (
      "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory"
      " in memory space hbm. Used 35.20G of 15.75G hbm. Exceeded by 19.45G.",
      35.2,
    ),
    ("Used 512.00M of 15.75G hbm", 0.5),
    ("RESOURCE_EXHAUSTED: too much of something", None),
  ],
)
def test_needed_memory_from_the_compilers_error(error, gib):
  assert plan._needed_gib(error) == gib


class _Memory:
  """Stands for the compiler: a step needs memory by rule, none is compiled."""

  def __init__(self, monkeypatch, usable, needed):
    self.usable = usable
    self.needed = needed
    self.asked = []
    monkeypatch.setattr(plan, "compile_step", self._compile_step)

  def _compile_step(self, config, topology, devices, changes=None):
    self.asked.append(dict(changes or {}))
    needs = self.needed(config)
    fits = needs <= self.usable
    return {
      "topology": topology.name,
      "mesh": dict(
        zip(
          ("data", "fsdp", "tensor"),
          config.mesh.shape(len(devices)),
          strict=True,
        )
      ),
      "batch_size": config.batch_size,
      "hbm_gib": self.usable,
      "fits": fits,
      "peak_gib": needs if fits else None,
      "needs_gib": needs,
      "compile_s": 1.0,
    }


_SLICE = types.SimpleNamespace(name="v5e:2x4", num_slices=1)
_DEVICES = [None] * 8


@pytest.mark.parametrize(
  ("usable", "largest"), [(16, 128), (30, 128), (100, 512)]
)
def test_the_largest_batch_is_found(monkeypatch, usable, largest):
  # 0.125 GiB an image: 128 images in 16 to 30, 512 in 64 to 127.
  memory = _Memory(monkeypatch, usable, lambda c: c.batch_size / 8)
  config = runs.make_config({"batch_size": 1024})
  got = plan.make(config, _SLICE, _DEVICES)
  assert not got["fits"]
  assert got["largest_batch_size"] == largest
  # Twice the size was tried too, or is the size asked for.
  tried = [c["batch_size"] for c in memory.asked if "batch_size" in c]
  assert largest in tried
  assert 2 * largest in [*tried, config.batch_size]


def test_no_batch_fits(monkeypatch):
  _Memory(monkeypatch, 1, lambda c: 100)
  got = plan.make(runs.make_config({"batch_size": 64}), _SLICE, _DEVICES)
  assert got["largest_batch_size"] is None
  assert not any(row["fits"] for row in got["alternatives"])


def test_alternatives_stop_at_the_cheapest_that_fits(monkeypatch):
  def needed(config):
    needs = {"none": 64, "dense": 40, "block": 20}[config.model.remat]
    return needs / (2 if config.mesh.fsdp == 8 else 1)

  _Memory(monkeypatch, 20, needed)
  got = plan.make(runs.make_config({"batch_size": 64}), _SLICE, _DEVICES)
  assert [(row["flags"], row["fits"]) for row in got["alternatives"]] == [
    ("--config.model.remat=dense", False),
    ("--config.model.remat=block", True),
  ]
  got = plan.make(
    runs.make_config({"batch_size": 64, "model.remat": "dense"}),
    _SLICE,
    _DEVICES,
  )
  assert [row["flags"] for row in got["alternatives"]] == [
    "--config.model.remat=block"
  ]


def test_splitting_parameters_is_tried(monkeypatch):
  _Memory(monkeypatch, 20, lambda c: 10 if c.mesh.fsdp == 8 else 40)
  config = runs.make_config({"batch_size": 64, "model.remat": "block"})
  got = plan.make(config, _SLICE, _DEVICES)
  assert got["alternatives"][-1]["flags"] == (
    "--config.mesh.data=-1 --config.mesh.fsdp=8"
  )
  assert got["alternatives"][-1]["fits"]


def test_microbatches_are_tried_where_they_are_the_same_loss(monkeypatch):
  _Memory(monkeypatch, 20, lambda c: 15 if c.num_microbatches == 4 else 40)
  changes = {"batch_size": 64, "model.remat": "block", "mesh.fsdp": 8}
  tried = {
    scope: plan.make(
      runs.make_config(changes | {"loss.scope": scope}), _SLICE, _DEVICES
    )["alternatives"]
    for scope in ("global", "microbatch")
  }
  last = tried["global"][-1]
  assert (last["flags"], last["fits"]) == ("--config.num_microbatches=4", True)
  assert tried["microbatch"]
  assert not any("microbatch" in row["flags"] for row in tried["microbatch"])


def test_what_does_not_fit_is_said_in_the_table(monkeypatch):
  _Memory(monkeypatch, 16, lambda c: c.batch_size / 8)
  config = runs.make_config({"batch_size": 256, "model.remat": "block"})
  got = plan.make(config, _SLICE, _DEVICES)
  text = plan_table.table(
    dict.fromkeys(
      ("parameters_gib", "optimizer_gib", "batch_gib", "activations_gib"), 1.0
    )
    | {"num_slices": 1, "chips": 8, "num_parameters": 10**6}
    | {"rows_read": None, "teacher_gib": None}
    | got
  )
  assert "no, needs 32.00 GiB a device" in text
  assert "--config.batch_size=128: the largest" in text
  assert "--config.mesh.data=-1 --config.mesh.fsdp=8: does not fit" in text


@pytest.mark.slow
def test_memory_of_one_device_is_its_part():
  config = runs.make_config({"mesh.fsdp": 8})
  got = plan.compile_step(
    config, topology_lib.parse("cpu:8"), list(jax.devices()[:8])
  )
  whole = 4 * got["num_parameters"] / 2**30
  assert whole / 8 < got["parameters_gib"] < whole
  assert any("fsdp" in row["axes"] for row in got["collectives"])
