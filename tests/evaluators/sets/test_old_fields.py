"""Configs of runs that older versions began."""

import json

import pytest

from configs import quickstart
from evaluators.sets import old_fields
from training import config as config_lib
from training.run import workdir


def _old_values(retrieval=("compositional", "unseen_concept")):
  """Return the quickstart as versions before evaluate.sets stored it."""
  values = quickstart.get_config().to_dict()
  del values["evaluate"]["sets"]
  values["evaluate"] |= {"retrieval": retrieval, "zero_shot": ("skin_tone",)}
  return json.loads(json.dumps(values))


def test_an_old_run_has_the_same_sets(tmp_path):
  new = config_lib.from_mapping(quickstart.get_config().to_dict())
  text = json.dumps({"config": _old_values()})
  (tmp_path / workdir.CONFIG).write_text(text)
  old = workdir.read_config(tmp_path)
  old.check()
  assert not config_lib.differences(old, new)


def test_a_split_of_the_training_source():
  values = _old_values(retrieval=("train",))
  values["data"]["sources"]["main"]["repeat"] = 3
  config = config_lib.from_mapping(old_fields.upgraded(values))
  config.check()
  assert list(config.evaluate.sets) == ["train", "skin_tone"]
  section = config.evaluate.sets["train"]
  assert section.source.split == "train"
  assert section.source.repeat == 1
  assert section.all_names
  assert config.data.sources["main"].repeat == 3


def test_values_of_today_stay():
  values = quickstart.get_config().to_dict()
  assert old_fields.upgraded(values) is values
  assert old_fields.upgraded({"a": 1}) == {"a": 1}


def test_a_metric_has_todays_name():
  values = quickstart.get_config().to_dict()
  section = values["evaluate"]["sets"]["skin_tone"]
  section["metrics"] = ["top_1", "mean_class_top_1"]
  config = config_lib.from_mapping(old_fields.upgraded(values))
  config.check()
  metrics = config.evaluate.sets["skin_tone"].metrics
  assert metrics == ("top_1", "mean_per_class")


def test_several_sources_are_refused_in_one_line(tmp_path):
  values = _old_values()
  values["data"]["sources"]["more"] = values["data"]["sources"]["main"]
  (tmp_path / workdir.CONFIG).write_text(json.dumps({"config": values}))
  with pytest.raises(workdir.WorkdirError, match="several sources") as raised:
    workdir.read_config(tmp_path)
  assert "\n" not in str(raised.value)
