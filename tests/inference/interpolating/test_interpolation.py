"""Models between a run and its start."""

import json
import pathlib

import jax
import numpy as np
import pytest

from inference import export
from inference import model as model_lib
from inference.interpolating import curve, interpolation
from runtime import sections
from tests import runs
from tests.inference import fresh_run, test_peft_folder


@pytest.fixture
def tuned(tmp_path: pathlib.Path) -> pathlib.Path:
  """Return a run that begins with another one, beside it in "start"."""
  fresh_run.write(tmp_path / "start", runs.make_config())
  config = runs.make_config({"init_from": str(tmp_path / "start")})
  shapes = fresh_run.write(tmp_path / "other", config)
  rng = np.random.default_rng(1)
  values = {
    path: rng.normal(size=x.shape).astype(np.float32)
    for path, x in shapes.items()
  }
  fresh_run.write(tmp_path / "tuned", config, values=values)
  return tmp_path / "tuned"


def _leaves(model: model_lib.Model) -> dict[str, np.ndarray]:
  return sections.flat(jax.device_get(model.params), "/")


@pytest.mark.slow
def test_line(tuned: pathlib.Path) -> None:
  model = model_lib.load(tuned)
  line = interpolation.line(tuned, model)
  start = _leaves(model_lib.load(tuned.parent / "start"))
  end = _leaves(model)
  for path, x in _leaves(line.at(0)).items():
    np.testing.assert_array_equal(x, start[path])
  for path, x in _leaves(line.at(1)).items():
    np.testing.assert_array_equal(x, end[path])
  for path, x in _leaves(line.at(0.25)).items():
    np.testing.assert_allclose(
      x, 0.75 * start[path] + 0.25 * end[path], rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_line_of_low_rank_updates(tmp_path: pathlib.Path) -> None:
  base, run = test_peft_folder.make_run(tmp_path)
  line = interpolation.line(run, model_lib.load(run))
  assert line.model.config.lora.rank == 0
  start = _leaves(model_lib.load(base))
  half, end = _leaves(line.at(0.5)), _leaves(line.at(1))
  changed = {
    path for path, x in end.items() if not np.array_equal(x, start[path])
  }
  assert changed == {
    "img/projection/kernel",
    *(
      f"{tower}/blocks/{name}/kernel"
      for tower in ("img", "txt")
      for name in ("attn/query", "attn/out", "mlp/up")
    ),
  }
  for path, x in half.items():
    np.testing.assert_allclose(
      x, (start[path] + end[path]) / 2, rtol=1e-5, atol=1e-6
    )
  export.run(run, "hf", str(tmp_path / "half"), alphas=[0.5])
  exported = _leaves(model_lib.load(tmp_path / "half"))
  for path, x in exported.items():
    np.testing.assert_allclose(x, half[path], rtol=1e-6, atol=1e-7)
  described = json.loads((tmp_path / "half" / "config.json").read_text())
  assert described["model_type"] == "clip"


@pytest.mark.slow
def test_a_run_without_a_start(tmp_path: pathlib.Path) -> None:
  fresh_run.write(tmp_path / "run", runs.make_config())
  with pytest.raises(ValueError, match=r"by init_from; .* began (\d+) of \1 "):
    interpolation.line(tmp_path / "run", model_lib.load(tmp_path / "run"))


def test_a_folder_without_a_run(tmp_path: pathlib.Path) -> None:
  for path, state in (
    ("none", "there is no such folder"),
    ("", "no run is in"),
  ):
    with pytest.raises(ValueError, match=f"--workdir=RUN; got .*: {state}"):
      curve.run(str(tmp_path / path), [0.5])


@pytest.mark.parametrize(
  ("alphas", "message"),
  [
    ([0.0, 1.5], "numbers of 0 to 1; got"),
    ([0.5, 0.5], "each number once; got"),
  ],
)
def test_wrong_numbers(alphas: list[float], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    interpolation.check(alphas)


@pytest.mark.parametrize(
  ("form", "alphas"), [("hf", [0.2, 0.4]), ("peft", [0.5])]
)
def test_wrong_exports(
  tmp_path: pathlib.Path, form: str, alphas: list[float]
) -> None:
  with pytest.raises(ValueError, match=r"must be one number in an export"):
    export.run("run", form, str(tmp_path / "out"), alphas=alphas)
