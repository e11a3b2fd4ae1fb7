"""Lists of trials that study files make."""

import pytest

from experiments.sweeps import study
from runtime import failures


def test_product():
  trials = study.product({"a": [1, 2], "b": ["x"]}, [{"c": 3}, {"d": 4}])
  assert trials == [
    {"a": 1, "b": "x", "c": 3},
    {"a": 1, "b": "x", "d": 4},
    {"a": 2, "b": "x", "c": 3},
    {"a": 2, "b": "x", "d": 4},
  ]
  with pytest.raises(ValueError, match="a stands twice"):
    study.product({"a": [1]}, [{"a": 2}])


def test_zip():
  assert study.zip({"a": [1, 2], "b": (3, 4)}) == [
    {"a": 1, "b": 3},
    {"a": 2, "b": 4},
  ]
  with pytest.raises(ValueError, match="equally many"):
    study.zip({"a": [1, 2], "b": [3]})


def test_seeds():
  assert study.seeds([{"a": 1}], 2) == [
    {"a": 1, "seed": 0},
    {"a": 1, "seed": 1},
  ]
  assert study.seeds([{}], [7], "train.seed") == [{"train.seed": 7}]


def test_random_is_of_its_seed():
  space = {
    "rate": study.log_uniform(1e-5, 1e-1),
    "decay": study.uniform(0, 2),
    "depth": study.integers(2, 3),
    "name": ["adamw", "lamb"],
  }
  trials = study.random(3, 400, space)
  assert trials == study.random(3, 400, space)
  assert trials != study.random(4, 400, space)
  assert all(1e-5 <= trial["rate"] <= 1e-1 for trial in trials)
  # Half of them lie below the middle of the exponents.
  assert 150 < sum(trial["rate"] < 1e-3 for trial in trials) < 250
  assert 150 < sum(trial["decay"] < 1 for trial in trials) < 250
  assert {trial["depth"] for trial in trials} == {2, 3}
  assert {trial["name"] for trial in trials} == {"adamw", "lamb"}
  with pytest.raises(ValueError, match="above 0"):
    study.log_uniform(0, 1)
  with pytest.raises(ValueError, match="at or above 2"):
    study.uniform(2, 1)


def _written(tmp_path, text):
  path = tmp_path / "study.py"
  path.write_text(text)
  return str(path)


def test_a_file_with_conditions(tmp_path):
  made, chain = study.load(
    _written(
      tmp_path,
      "from experiments.sweeps import study\n"
      "def get_study():\n"
      "  trials = study.product({'a': [1, 2], 'b': [1, 2]})\n"
      "  return (t for t in trials if t['a'] != t['b'])\n",
    )
  )
  assert made == [{"a": 1, "b": 2}, {"a": 2, "b": 1}]
  assert chain == ()


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("x = 1\n", r"study\.py must have a function get_study\(\)"),
    ("def get_study():\n  return []\n", "must yield trials; got none"),
    ("def get_study():\n  return 1 / 0\n", "ZeroDivisionError: division"),
    ("import nothing_here\n", "ModuleNotFoundError: No module"),
    ("def get_study(:\n", "SyntaxError"),
  ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, message):
  with pytest.raises(failures.RunError, match=message):
    study.load(_written(tmp_path, text))


def test_no_file(tmp_path):
  with pytest.raises(failures.RunError, match="must be a Python file"):
    study.load(str(tmp_path / "study.py"))
