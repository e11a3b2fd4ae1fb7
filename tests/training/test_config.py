"""From a ConfigDict to checked dataclasses."""

import json

import ml_collections
import pytest

from configs import base, quickstart
from configs.parts import domain, sources
from evaluators.sets import kinds
from tests import runs, tiny
from training import config as config_lib
from training import train
from training.run import run_inputs


def _values(**changes):
  values = base.get_config().to_dict()
  for path, value in changes.items():
    *sections, name = path.split("__")
    section = values
    for part in sections:
      section = section[part]
    if value is None:
      del section[name]
    else:
      section[name] = value
  return values


_RETRIEVAL = kinds.retrieval(sources.source(format="emoji").to_dict())


@pytest.mark.parametrize("module", [base, quickstart, tiny])
def test_configs_are_valid(module):
  config_lib.from_mapping(module.get_config().to_dict()).check()


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"batch_sise": 3}, "has unknown batch_sise"),
    ({"seed": None}, "lacks seed"),
    ({"model__image__widht": 3}, "has unknown model.image.widht"),
    ({"optimizer__b1": None}, "lacks optimizer.b1"),
    ({"seed": 1.0}, r"seed must be of type int; got 1.0 \(float\)"),
    ({"seed": True}, r"seed must be of type int; got True \(bool\)"),
    ({"loss__name": 3}, r"loss.name must be of type str; got 3"),
    ({"model__text__causal": 1}, "model.text.causal must be of type bool"),
    ({"mesh": 3}, "mesh must be a section; got 3"),
    (
      {"model__image__tower": "vgg"},
      r"model\.image\.tower must be one of vit.*got 'vgg'",
    ),
    (
      {"model__text__tower": None},
      r"model\.text\.tower must be one of transformer.*got ''",
    ),
    ({"model__image": 3}, "model.image must be a section; got 3"),
    ({"data__languages": "en"}, "data.languages must be a tuple; got 'en'"),
    ({"data__languages": ("en", 3)}, r"data.languages\[1\] must be .*str"),
    (
      {"data__augmentation__crop_scale": (1.0,)},
      "data.augmentation.crop_scale must have 2 items; got 1",
    ),
    ({"data__sources": 3}, "data.sources must be a section; got 3"),
    (
      {"data__sources__main__weight": "much"},
      "data.sources.main.weight must be of type float; got 'much'",
    ),
    (
      {"partition_rules": ((".*", (), 3),)},
      r"partition_rules\[0\] must have 2 items",
    ),
  ],
)
def test_wrong_fields(changes, words):
  with pytest.raises(ValueError, match=words):
    config_lib.from_mapping(_values(**changes))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {"data__sources__main": domain.source("rsicd.nothing")},
      r"data\.sources\.main\.layout must be one of .*got 'rsicd\.nothing'",
    ),
    (
      {
        "evaluate__sets": {"a": kinds.retrieval(domain.source("rsicd.ucm@dev"))}
      },
      r"evaluate\.sets\.a\.source\.split must be one of .* got 'dev'",
    ),
    ({"total_steps": 0}, "total_steps must be at least 1; got 0"),
    ({"batch_size": -2}, "batch_size must be at least 1; got -2"),
    ({"log_every_steps": 0}, "log_every_steps must be at least 1; got 0"),
    ({"seed": -1}, "seed must be at least 0; got -1"),
    ({"checkpoint__every_steps": 0}, "checkpoint.every_steps must be at leas"),
    ({"checkpoint__keep": 0}, "checkpoint.keep must be at least 1; got 0"),
    ({"evaluate__every_steps": -1}, "evaluate.every_steps must be at least 0"),
    (
      {"evaluate__sets": {"zero_shot": _RETRIEVAL}},
      "evaluate.sets must have other names than 'zero_shot'",
    ),
    ({"optimizer__name": "sgd"}, "optimizer.name must be one of.*'sgd'"),
    ({"optimizer__learning_rate": -1.0}, "optimizer.learning_rate .*-1.0"),
    ({"optimizer__learning_rate": float("nan")}, "learning_rate .*nan"),
    ({"optimizer__moment_dtype": "int8"}, "optimizer.moment_dtype .*'int8'"),
    (
      {
        "optimizer__name": "lamb",
        "optimizer__weight_decay_convention": "schedule",
      },
      "must be 'lr' with LAMB",
    ),
    (
      {"model__image__image_size": 32},
      "model.image.image_size must equal data.image_size=64; got 32",
    ),
    (
      {"model__text__vocab_size": 3},
      "model.text.vocab_size must equal data.vocab_size=2048; got 3",
    ),
  ],
)
def test_refused_values(changes, words):
  config = config_lib.from_mapping(_values(**changes))
  with pytest.raises(ValueError, match=words):
    config.check()


def test_a_folder_that_was_forgotten():
  values = _values(data__sources__main=domain.source("rsicd.captions@train"))
  config = config_lib.from_mapping(values)
  config.check()
  words = r"main\.path must be the folder .* layout='rsicd\.captions'; got ''"
  with pytest.raises(ValueError, match=words):
    config.check_paths()


def test_all_problems_at_once():
  values = _values(
    batch_size=0,
    data__languages=("en", 3),
    data__tokenizer="none",
    model__image__patch_size=0,
    model__text__pool="none",
    loss__name="hinge",
    optimizer__learning_rate=-1.0,
    evaluate__sets={"a": _RETRIEVAL | {"metrics": ()}},
  )
  with pytest.raises(ValueError, match="^8 problems:") as raised:
    config_lib.checked(values)
  for words in (
    "data.languages[1] must",
    "batch_size must",
    "data.tokenizer must",
    "model.image.patch_size, and that at least 1",
    "model.text.pool must",
    "loss.name must",
    "optimizer.learning_rate must",
    "evaluate.sets.a.metrics must",
  ):
    assert words in str(raised.value)


def test_an_int_will_do_for_a_float():
  config = config_lib.from_mapping(_values(model__scale_init=10))
  assert config.model.scale_init == 10.0
  assert type(config.model.scale_init) is float


@pytest.mark.parametrize("module", [base, quickstart])
def test_json_round_trip(module):
  config = config_lib.from_mapping(module.get_config().to_dict())
  text = json.dumps(config_lib.to_mapping(config))
  again = config_lib.from_mapping(json.loads(text))
  assert again == config
  assert hash(again) == hash(config)
  assert not config_lib.differences(config, again)


def test_differences():
  old = config_lib.from_mapping(_values())
  new = config_lib.from_mapping(
    _values(seed=1, model__image__depth=3, data__languages=("de",))
  )
  assert config_lib.differences(old, new) == {
    "seed": (0, 1),
    "model.image.depth": (6, 3),
    "data.languages": (("en",), ("de",)),
  }


def test_an_unknown_field_cannot_be_read():
  config = config_lib.from_mapping(_values())
  with pytest.raises(AttributeError):
    _ = config.optimizer.learning_rte
  with pytest.raises(AttributeError):
    config.seed = 3


def test_checked_takes_a_config_dict_as_the_flag_gives_it():
  locked = ml_collections.FrozenConfigDict(base.get_config())
  assert config_lib.checked(locked.to_dict()).seed == 0


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.text.pool": "eot"}, None),
    ({"model.text.pool": "eot", "model.text.eot_id": 2}, r"eot_id must be 1, "),
    ({"model.text.eot_id": 2}, None),  # pooled otherwise
    ({"model.text.pad_id": 3}, r"pad_id must be 0, .*'bytes'; got 3"),
    ({"model.text.pad_id": 3, "model.text.mask_padding": False}, None),
  ],
)
def test_ids_of_tower_and_tokenizer(changes, words, tmp_path):
  cache = tmp_path / "cache"
  config = runs.make_config({"data.cache_dir": str(cache), **changes})
  if words is None:
    run_inputs.check_early(tmp_path, config)
  else:
    with pytest.raises(ValueError, match=words):
      run_inputs.check_early(tmp_path, config)
  assert not cache.exists()


def test_a_file_that_is_not_there_costs_nothing(tmp_path):
  cache = tmp_path / "cache"
  config = runs.make_config(
    {
      "data.cache_dir": str(cache),
      "data.tokenizer": "clip",
      "data.vocab_size": 49_408,
    }
  )
  with pytest.raises(FileNotFoundError, match="tokenizer_path"):
    train.check(config, tmp_path / "run")
  assert not cache.exists()
  assert not (tmp_path / "run").exists()
