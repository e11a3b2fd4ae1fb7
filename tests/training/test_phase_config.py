"""Phases of a config: their steps, fields in force, and what is refused."""

import json

import pytest

from configs.parts import phases
from tests import runs, tiny, tiny_phases
from training import config as config_lib
from training import schedule
from training.objectives import pairs as objective


def _config(**named):
  """Return the values of tiny.py with {name: arguments of phases.section}."""
  config = tiny.get_config()
  config.total_steps = 20
  config.phases = {name: phases.section(*x) for name, x in named.items()}
  return config.to_dict()


def _checked():
  return config_lib.checked(tiny_phases.get_config().to_dict())


def test_without_phases_a_run_is_one_stage():
  config = runs.make_config()
  (stage,) = config_lib.stages(config)
  assert stage.config is config
  assert (stage.first_step, stage.end, stage.name) == (0, 40, "")
  assert stage.span == schedule.Span(0, 40)


def test_phases_follow_each_other_by_their_ends():
  """Names of a ConfigDict are sorted; steps are not."""
  made = config_lib.stages(_checked())
  assert [x.name for x in made] == ["prompted", "plain", "large"]
  assert [(x.first_step, x.end) for x in made] == [(0, 6), (6, 12), (12, 16)]


def test_changes_hold_for_all_later_phases():
  prompted, plain, large = (x.config for x in config_lib.stages(_checked()))
  assert [x.data.leave_out for x in (prompted, plain, large)] == [
    (),
    ("augmented",),
    ("augmented",),
  ]
  assert large.data.image_size == 24
  assert large.model.image.image_size == 24, "the tower follows the data"
  assert plain.model.image.image_size == 16
  lengths = [
    objective.shapes(x).tokens.shape[1] for x in (prompted, plain, large)
  ]
  assert lengths == [tiny_phases.NUM_TOKENS, tiny_phases.NUM_TOKENS, 8]
  assert plain.model.text.num_tokens == 8, "the tower has all positions"


def test_an_own_schedule_begins_and_ends_with_its_phase():
  spans = [x.span for x in config_lib.stages(_checked())]
  assert spans == [schedule.Span(*x) for x in ((0, 12), (0, 12), (12, 4))]


def test_a_stretched_phase_has_fewer_steps_of_the_schedule():
  """8 steps, then 15 that are 4: a schedule of 12; an own one begins anew."""
  values = _config(a=(8, {}), b=(0, {}, False, 3.75))
  values["total_steps"] = 23
  config = config_lib.checked(values)
  span = schedule.Span(0, 12, ((0, 1.0), (8, 3.75)))
  assert [x.span for x in config_lib.stages(config)] == [span, span]
  short = {"optimizer": {"warmup_steps": 1}}
  values = _config(a=(8, {}), b=(0, short, True, 4.0))
  spans = [x.span for x in config_lib.stages(config_lib.checked(values))]
  assert spans == [schedule.Span(0, 8), schedule.Span(8, 3, ((8, 4.0),))]


@pytest.mark.parametrize("stretch", [0.0, -1.0, float("inf")])
def test_wrong_stretches_are_refused_by_name(stretch):
  values = _config(a=(8, {}), b=(0, {}, False, stretch))
  with pytest.raises(ValueError, match=r"phases\.b\.stretch must be above 0"):
    config_lib.checked(values)


def test_examples_go_on_with_another_batch_size():
  """12 batches of 8 are 24 of 4; 5 of 8 are 40 examples, 14 of 3."""
  assert [x.first_batch for x in config_lib.stages(_checked())] == [0, 6, 24]
  values = _config(a=(5, {"batch_size": 8}), b=(0, {"batch_size": 3}))
  config = config_lib.from_mapping(values)
  assert config_lib.stages(config)[1].first_batch == 14


def test_a_checkpoint_is_of_the_phase_that_made_its_last_update():
  config = _checked()
  names = [config_lib.stage_of_checkpoint(config, x).name for x in (0, 6, 7)]
  assert names == ["prompted", "prompted", "plain"]
  assert config_lib.stage_of_checkpoint(config, 16).name == "large"


def test_a_config_is_the_same_after_json():
  config = _checked()
  text = json.dumps(config_lib.to_mapping(config))
  assert config_lib.from_mapping(json.loads(text)) == config


def test_differences_name_fields_of_phases():
  config = tiny_phases.get_config()
  config.phases.large.changes.data.image_size = 32
  other = config_lib.checked(config.to_dict())
  assert config_lib.differences(_checked(), other) == {
    "phases.large.changes.data.image_size": (24, 32)
  }


def test_a_source_that_is_none_is_left_out():
  config = tiny_phases.get_config()
  other = config.data.sources.main.copy_and_resolve_references()
  change = {"sources": {"main": None, "other": other}}
  config.phases.plain = phases.section(12, {"data": change})
  _, plain, _ = config_lib.stages(config_lib.checked(config.to_dict()))
  assert list(plain.config.data.sources) == ["other"]


def test_the_last_phase_goes_to_the_last_step():
  config = tiny_phases.get_config()
  config.total_steps = 30
  assert config_lib.stages(config_lib.checked(config.to_dict()))[-1].end == 30


@pytest.mark.parametrize(
  ("named", "message"),
  [
    (
      {"a": (10, {}), "b": (18, {})},
      r"phases\.b\.until must be total_steps=20, or 0 .*got 18",
    ),
    (
      {"a": (30, {}), "b": (0, {})},
      r"phases\.a\.until must be total_steps=20, .*got 30",
    ),
    (
      {"a": (10, {}), "b": (10, {}), "c": (0, {})},
      r"phases\.b\.until must differ from phases\.a\.until: .*got 10",
    ),
    ({"a": (-1, {}), "b": (0, {})}, r"phases\.a\.until must be at least 0"),
    (
      {"a": (0, {"data": {"imgsize": 32}})},
      r"phases\.a\.changes\.data\.imgsize must be a field of the config",
    ),
    (
      {"a": (0, {"model": {"image": {"depth": 3}}})},
      r"phases\.a\.changes\.model\.image\.depth must be a field that can",
    ),
    (
      {"a": (0, {"optimizer": {"name": "lamb"}})},
      r"phases\.a\.changes\.optimizer\.name must be a field that can",
    ),
    (
      {"a": (10, {}), "b": (0, {"optimizer": {"warmup_steps": 2}})},
      r"phases\.b\.own_schedule must be True with a change of optimizer\.warm",
    ),
    (
      {"a": (10, {}), "b": (0, {"data": {"image_size": "large"}})},
      r"phases\.b: data\.image_size must be of type int; got 'large'",
    ),
    (
      {"a": (10, {}), "b": (0, {"batch_size": 0})},
      r"phases\.b: batch_size must be at least 1; got 0",
    ),
    (
      {"a": (10, {}), "b": (0, {"optimizer": {"warmup_steps": 11}}, True)},
      r"phases\.b: optimizer\.warmup_steps \+ cooldown_steps .*11 \+ 0 and 10",
    ),
    (
      {"a": (10, {}), "b": (0, {"data": {"leave_out": ("augmented",)}})},
      r"phases\.b: data\.leave_out must name .*got augmented, among none",
    ),
    (
      {"1st": (0, {})},
      r"phases must have names of letters, digits and _, .*got '1st'",
    ),
  ],
)
def test_refused(named, message):
  with pytest.raises(ValueError, match=message):
    config_lib.checked(_config(**named))


def test_problems_of_all_phases_are_named_at_once():
  named = {"a": (10, {"seed": 1}), "b": (0, {"data": {"nothing": 1}})}
  with pytest.raises(ValueError, match=r"2 problems:\n.*a\..*\n.*b\."):
    config_lib.checked(_config(**named))


def test_other_checks_see_each_phase():
  def refuse_24(config):
    if config.data.image_size == 24:
      raise ValueError("data.image_size is 24")

  with pytest.raises(ValueError, match=r"phases\.large: data.image_size is 24"):
    config_lib.checked(tiny_phases.get_config().to_dict(), refuse_24)


def test_a_selection_compares_one_size():
  config = tiny_phases.get_config()
  config.checkpoint.select = "holdout/loss"
  config.evaluate.update({"every_steps": 2, "loss": True, "holdout": 0.1})
  with pytest.raises(ValueError, match=r"checkpoint\.select must be .*phases"):
    config_lib.checked(config.to_dict())
