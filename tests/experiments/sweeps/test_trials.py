"""Trials from flags and studies: values, ids, refusals."""

import pytest

from experiments.sweeps import study, trials
from runtime import failures
from tasks import flags
from training import config as config_lib

# ml_collections reads config files so.
pytestmark = pytest.mark.filterwarnings(
  "ignore:the load_module:DeprecationWarning"
)


def _check(value):
  config_lib.checked(value.to_dict())


@pytest.fixture
def base():
  task = study.Task(
    "train",
    (
      *("--task=train", "--config=tests/tiny.py:compositional"),
      *("--config.total_steps=30", "--workdir={train}"),
    ),
  )
  return trials.Base((task,), flags.parse_config, _check)


def test_split():
  assert trials.split("1e-3, 3e-4") == ["1e-3", "3e-4"]
  text = "(1,2),[3,(4,5)],'a,(b',{'c': 1, 'd': 2}"
  assert trials.split(text) == [
    "(1,2)",
    "[3,(4,5)]",
    "'a,(b'",
    "{'c': 1, 'd': 2}",
  ]
  for wrong in ("(1,2", "1)", "'a", "1,,2", "1,", ""):
    with pytest.raises(ValueError, match="; got"):
      trials.split(wrong)


def test_expand():
  assert trials.expand("0..2,7", like=0) == ["0", "1", "2", "7"]
  assert trials.expand("-1..1", like=0.5) == ["-1", "0", "1"]
  # A name may have two dots.
  assert trials.expand("1..2,'a,b'", like="x") == ["1..2", "a,b"]
  with pytest.raises(ValueError, match=r"must not fall; got 2\.\.0"):
    trials.expand("2..0", like=0)


def test_values_of_flags(base):
  changes = trials.of_flags(
    {
      "optimizer.learning_rate": "1e-3,3e-4",
      "seed": "0..1",
      "data.augmentation.crop_scale": "(0.5,1.0)",
    },
    base,
  )
  listed = trials.resolve(changes, base, "--sweep.")
  assert [dict(trial.changes) for trial in listed] == [
    {
      "optimizer.learning_rate": rate,
      "seed": seed,
      "data.augmentation.crop_scale": (0.5, 1.0),
    }
    for rate in (1e-3, 3e-4)
    for seed in (0, 1)
  ]
  assert {trial.steps for trial in listed} == {30}


def test_ids_are_of_the_changes_alone(base):
  def ids(changes):
    return [trial.id for trial in trials.resolve(changes, base, "")]

  rate, seed = "optimizer.learning_rate", "seed"
  listed = ids([{rate: 1e-3, seed: 1}, {rate: 3e-4, seed: 1}])
  assert listed == ids([{seed: 1, rate: "0.001"}, {seed: "1", rate: "3e-4"}])
  assert listed[::-1] == ids([{seed: 1, rate: 3e-4}, {seed: 1, rate: 1e-3}])
  assert listed == ["4f2572fad7", "6cc8a18268"]  # in folders of users
  assert len({*listed, *ids([{rate: 1e-3}]), *ids([{seed: 1}])}) == 4
  # Twice the same trial is one.
  assert ids([{rate: 1}, {rate: "1.0"}]) == ids([{rate: 1.0}])


def test_commands(base, tmp_path):
  change = {"data.languages": ("en", "de"), "data.tokenizer": "bytes"}
  (trial,) = trials.resolve([change], base, "")
  assert base.commands(tmp_path, trial) == {
    "train": [
      "--task=train",
      "--config=tests/tiny.py:compositional",
      "--config.total_steps=30",
      f"--workdir={tmp_path}/{trial.id}",
      "--config.data.languages=('en', 'de')",
      "--config.data.tokenizer=bytes",
    ]
  }


def test_commands_of_a_chain(tmp_path):
  chain = (
    study.Task(
      "select",
      (
        *("--task=curate", "--config=configs/curate/align.py:mini"),
        "--workdir={select}",
      ),
    ),
    study.Task(
      "train",
      (
        *("--task=train", "--config=tests/tiny.py", "--workdir={train}"),
        "--config.data.sources.main.subset={select}/selection.npy",
      ),
    ),
    study.Task("judge", ("--task=evaluate", "--workdir={train}")),
  )
  base = trials.Base(
    chain, flags.parse_config, lambda value: None, is_chain=True
  )
  change = {"select.pool.path": "x/*.tar", "train.seed": 3}
  (trial,) = trials.resolve([change], base, "")
  folder = tmp_path / trial.id
  commands = base.commands(tmp_path, trial)
  assert commands["select"][-2:] == [
    f"--workdir={folder}/select",
    "--config.pool.path=x/*.tar",
  ]
  assert commands["train"][2:] == [
    f"--workdir={folder}/train",
    f"--config.data.sources.main.subset={folder}/select/selection.npy",
    "--config.seed=3",
  ]
  assert commands["judge"][1] == f"--workdir={folder}/train"
  assert trial.steps == 40
  for field, message in (
    ("seed", "seed=1: seed must begin with a task of CHAIN: select., train."),
    ("judge.seed", "task judge of CHAIN has no --config to change"),
    ("train.sed", "there is no config field"),
  ):
    with pytest.raises(failures.RunError, match=message):
      trials.resolve([{field: 1}], base, "")


@pytest.mark.parametrize(
  ("fields", "lines"),
  [
    (
      {"optimizer.learning_rat": "1,2", "seed": "0,a", "batch_size": "2..1"},
      [
        "--sweep.optimizer.learning_rat: there is no config field",
        "--sweep.seed: flag --config.seed=a: invalid literal",
        "--sweep.batch_size: FIRST..LAST must not fall; got 2..1",
      ],
    ),
    (
      {"optimizer.name": "adam,lamb", "optimizer.learning_rate": "-1,1"},
      [
        "optimizer.name must be one of adamw, adafactor, lamb, adamax; got"
        " 'adam' (in 2 of 4 trials)",
        "optimizer.learning_rate must be at least 0; got -1.0 (in 2 of 4",
      ],
    ),
  ],
)
def test_refusals(base, fields, lines):
  with pytest.raises(failures.RunError) as error:
    trials.resolve(trials.of_flags(fields, base), base, "--sweep.")
  head, *rest = str(error.value).splitlines()
  assert head == f"{len(lines)} problems:"
  for line, expected in zip(rest, lines, strict=True):
    assert line.strip().startswith(expected)


def test_a_wrong_value_of_a_study(base):
  with pytest.raises(failures.RunError, match="STUDY: batch_size=0.5: flag"):
    trials.resolve([{"batch_size": 0.5}], base, "STUDY: ")


def test_filter(base):
  rate = "optimizer.learning_rate"
  listed = trials.resolve(
    study.product({rate: [1e-3, 3e-4], "seed": [0, 1]}), base, ""
  )

  def chosen(*terms):
    trials.check_filter(terms, listed)
    return [
      i for i, t in enumerate(listed) if trials.matches(t, "failed", terms)
    ]

  assert chosen(f"{rate}=1e-3") == [0, 1]
  assert chosen(f"{rate}=0.0003", "seed=1") == [3]
  assert chosen(listed[1].id[:6], listed[2].id) == [1, 2]
  assert chosen(listed[1].id, "state=failed") == [1]
  assert chosen("state=done") == []
  with pytest.raises(failures.RunError, match="one of state, optimizer.lea"):
    chosen("optimizer.rate=1")
