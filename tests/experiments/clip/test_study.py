"""Study of CLIP: its trials build, and its figures are those of its sets."""

import pytest

from experiments.clip import config as config_file
from experiments.clip import labels, study
from experiments.parts import emoji_run
from training import config as config_lib


@pytest.fixture(autouse=True)
def _in_a_folder_with_emoji(tmp_path, monkeypatch):
  """Work where the folder of the drawings is, as a config's check asks."""
  (tmp_path / emoji_run.FOLDER).mkdir(parents=True)
  monkeypatch.chdir(tmp_path)


def _config(variant, changes=None, task=""):
  values = config_file.get_config(variant)
  for field, value in (changes or {}).items():
    name, _, path = field.partition(".")
    if name == task:
      values.update_from_flattened_dict({path: value})
  return config_lib.checked(values.to_dict())


@pytest.mark.parametrize("arm", study.STUDY.arms, ids=lambda arm: arm.name)
def test_an_arm_has_two_runs_of_its_width(arm):
  pairs = _config("pairs", arm.changes, "train")
  drawings = _config("classes", arm.changes, "label")
  width = pairs.model.embed_dim
  assert arm.name.startswith(f"width {width}, ")
  assert pairs.total_steps * pairs.batch_size == arm.x
  assert drawings.model.image == pairs.model.image
  examples = drawings.total_steps * drawings.batch_size
  assert 16_384 <= examples <= pairs.total_steps * pairs.batch_size
  is_plain = arm.name == study.NAMES_ALONE
  assert (pairs.data.sources["main"].templates == ()) == is_plain


def test_a_trial_has_one_seed_in_both_runs():
  trials = study.get_study()
  assert len(trials) == 3 * len(study.STUDY.arms)
  assert [x["train.seed"] for x in trials] == [x["label.seed"] for x in trials]
  fields = {field.split(".")[0] for trial in trials for field in trial}
  assert fields == {"train", "label"} < {task.name for task in study.CHAIN}


def test_each_figure_has_its_set():
  pairs, drawings = _config("pairs"), _config("classes")
  for figure in study.STUDY.figures:
    task, name, *rest = figure.name.split("/")
    if task == "label":
      assert drawings.evaluate.sets[name].head, figure
      continue
    section = pairs.evaluate.sets[name]
    assert not section.head
    if task == "judge":
      assert section.training == "cache/clip/shots.jsonl", figure
      assert rest[:2] == ["few_shot", "ridge"]
    assert section.source.path.endswith(
      f"/{figure.label.partition(',')[0]}.jsonl"
    )


def test_the_head_has_the_classes_and_the_text_tower_rests():
  config = _config("classes")
  assert config.model.head.classes == labels.CLASSES
  assert config.optimizer.freeze[0] == (r"txt/.*|log_scale|bias", True)


@pytest.mark.parametrize("variant", ["pairs_val", "classes_val"])
def test_choices_are_made_on_val(variant):
  sets = _config(variant).evaluate.sets
  assert {x.source.path for x in sets.values()} == {"cache/clip/val.jsonl"}


def test_an_unknown_variant_is_refused():
  with pytest.raises(ValueError, match="must be one of pairs, classes"):
    config_file.get_config("labels")
