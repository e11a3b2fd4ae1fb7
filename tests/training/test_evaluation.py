"""Evaluations of a run: what they share, and how many examples they take."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from configs import lit
from evaluators import embedding, suite
from models import dual_encoder
from tests import runs
from tests.evaluators import test_suite
from training import config as config_lib
from training import evaluation, evaluation_sample

# Ten times as many examples as the rows of a batch.
_NUM = 160
_FREEZE = {
  "none": ((r".*", False),),
  "img": ((r"img/.*", True), (r".*", False)),
  "img but its projection": (
    *((r"img/head/.*", False), (r"img/.*", True), (r".*", False)),
  ),
  "txt": ((r"txt/.*", True), (r".*", False)),
}


class Tokenizer(test_suite.Tokenizer):
  """Tokenizer of more names than the table of other tests has."""

  def row(self, text):
    if text.endswith(" skin tone"):
      return 2 * _NUM + test_suite.TONES.index(text.split()[-3])
    return int(text.split()[1]) % (2 * _NUM)


def _evaluator(folder, *, freeze="none", every=10, max_fraction=1.0, **kwargs):
  changes = {
    "evaluate.every_steps": every,
    "evaluate.max_fraction": max_fraction,
    "evaluate.batch_size": 16,
  }
  config = runs.make_config(changes)
  optimizer = dataclasses.replace(config.optimizer, freeze=_FREEZE[freeze])
  config = dataclasses.replace(config, optimizer=optimizer)
  data = test_suite.make_data(_NUM)
  section = dataclasses.replace(
    data.config, every_steps=every, max_fraction=max_fraction
  )
  config = dataclasses.replace(config, evaluate=section)
  inputs = test_suite.make_inputs(Tokenizer())
  data = dataclasses.replace(data, config=section, inputs=inputs)
  embedder = test_suite.make_embedder(**kwargs)
  # The table stands for the parameters of all towers.
  fns = (
    jax.jit(lambda params, x, fn=fn: fn(params["table"], x))
    for fn in (embedder.images_fn, embedder.texts_fn)
  )
  images_fn, texts_fn = fns
  embedder = dataclasses.replace(
    embedder, images_fn=images_fn, texts_fn=texts_fn
  )
  return evaluation.Evaluator(config, folder, data, embedder)


def _variables(seed=0):
  table = np.random.default_rng(seed).normal(size=(2 * _NUM + 5, 8))
  table = test_suite.meshes.unit(table)
  leaf = np.zeros(1, np.float32)
  return {
    "table": table,
    "img": {"head": {"kernel": leaf}, "blocks": {"kernel": leaf}},
    "txt": {"blocks": {"kernel": leaf}},
    "log_scale": leaf,
  }


def _passes(evaluator):
  return [split.passes for split in evaluator.data.splits.values()]


@pytest.mark.parametrize(
  ("freeze", "locked"),
  [
    ("none", ()),
    ("img", ("img",)),
    ("img but its projection", ()),
    ("txt", ("txt",)),
  ],
)
def test_a_tower_that_does_not_train_embeds_once(tmp_path, freeze, locked):
  evaluator = _evaluator(tmp_path, freeze=freeze)
  calls = []
  stream = embedding.Embedder.stream
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      embedding.Embedder,
      "stream",
      lambda self, fn, params, batches, kind, **kwargs: (
        calls.append(kind) or stream(self, fn, params, batches, kind, **kwargs)
      ),
    )
    first = evaluator.scalars(_variables(0), 1.0)
    calls.clear()
    second = evaluator.scalars(_variables(1), 1.0)
    third, *_ = evaluator.final(_variables(1))
  again = [kind for kind in ("img", "txt") if kind not in locked]
  wanted = {"img": ["image"] * 2, "txt": ["text"]}
  assert calls == 2 * [kind for side in again for kind in wanted[side]]
  assert second != first
  assert suite.scalars(third) == second
  if not locked:
    fresh = _evaluator(tmp_path).scalars(_variables(1), 1.0)
    assert second == fresh
  # Texts are tokenised once.
  texts = evaluator.data.inputs.tokenizer.texts
  assert len(texts) == len(set(texts))


def test_locked_sides_of_a_real_model():
  config = runs.make_config({})
  params = jax.eval_shape(
    lambda: dual_encoder.init_params(config.model, jax.random.key(0))
  )
  for freeze, wanted in (("none", ()), ("img", ("img",)), ("txt", ("txt",))):
    optimizer = dataclasses.replace(config.optimizer, freeze=_FREEZE[freeze])
    one = dataclasses.replace(config, optimizer=optimizer)
    locked = [
      x for x in ("img", "txt") if evaluation._is_locked(one, params, x)
    ]
    assert tuple(locked) == wanted
  for moving, wanted in ((False, True), (True, False)):
    rules = (
      (r"img/.*running_.*", not moving),
      (r"img/.*", True),
      (r".*", False),
    )
    optimizer = dataclasses.replace(config.optimizer, freeze=rules)
    one = dataclasses.replace(config, optimizer=optimizer)
    stats = {"running_mean": np.zeros(1), "running_var": np.ones(1)}
    both = {**params, "img": {**params["img"], "norm": stats}}
    assert evaluation._is_locked(one, both, "img") == wanted


@pytest.mark.parametrize("variant", ["mini", "coco_b16_base"])
def test_locked_image_tuning_locks_the_image_tower(variant):
  config = config_lib.from_mapping(lit.get_config(variant).to_dict())
  params = jax.eval_shape(
    lambda: dual_encoder.init_params(config.model, jax.random.key(0))
  )
  assert evaluation._is_locked(config, params, "img")
  assert not evaluation._is_locked(config, params, "txt")


def _config(**fields):
  section = test_suite.config_of({})
  return dataclasses.replace(section, **fields)


@pytest.mark.parametrize("max_fraction", [0.5, 0.1, 0.06])
def test_the_largest_sample_within_the_limit(max_fraction):
  """100 steps of 1 s; 1,000 and 10,000 examples at 0.01 s, and 5 s: 115 s."""
  cost = evaluation_sample.Cost([0.008, 0.008], 0.002, 5.0, [1000, 10_000])
  config = _config(max_fraction=max_fraction, every_steps=100, batch_size=16)
  sample = evaluation_sample.choose(cost, config=config, step_seconds=1.0)
  budget = 100 * max_fraction / (1 - max_fraction)
  assert sample.whole_seconds == pytest.approx(115)
  assert sample.num_examples is not None
  assert sample.num_examples % 16 == 0
  assert sample.seconds <= budget < cost.seconds(sample.num_examples + 16)
  assert sample.share(sample.seconds) == pytest.approx(max_fraction, abs=0.01)
  assert f"at most {sample.num_examples:,} examples" in str(sample)


def test_all_examples_or_one_batch():
  cost = evaluation_sample.Cost([0.008, 0.008], 0.002, 5.0, [1000, 10_000])
  config = _config(max_fraction=0.6, every_steps=100, batch_size=16)
  sample = evaluation_sample.choose(cost, config=config, step_seconds=1.0)
  assert sample.num_examples is None
  assert "take all examples: 53% of the time" in str(sample)
  # Prompts alone take longer than the limit.
  config = _config(max_fraction=0.01, every_steps=100, batch_size=16)
  sample = evaluation_sample.choose(cost, config=config, step_seconds=1.0)
  assert sample.num_examples == 16
  assert "5% of the time: all would take 115.0 s, 53% of the time" in (
    str(sample)
  )


def test_a_sample_is_fixed_for_the_run(tmp_path, monkeypatch, capsys):
  evaluator = _evaluator(tmp_path, max_fraction=0.1)
  cost = evaluation_sample.Cost([0.01, 0.01], 0.0, 0.0, [_NUM, _NUM])
  measured = []
  monkeypatch.setattr(
    evaluation_sample, "measure", lambda *_: measured.append(1) or cost
  )
  # Not before a step: nothing is known to decide by.
  assert evaluator.scalars(_variables(), 0.0) == {}
  assert "No evaluation at this step" in capsys.readouterr().err
  # 10 steps of 0.9 s, a tenth of the time: 1 s, 50 of each, whole batches: 48.
  first = evaluator.scalars(_variables(), 0.9)
  assert "at most 48 examples of a source, 10% of the time: all would take" in (
    capsys.readouterr().err
  )
  names = ("compositional", "unseen_concept", "zero_shot/skin_tone")
  for name in names:
    assert first[f"{name}.sample/num_examples"] == 48
  assert all(".sample/" in name for name in first)
  # They are those of an evaluation of these examples alone.
  part = evaluator.data.sample(48)
  by_hand = suite.run(part, evaluator.embedder, _variables())
  scalars = suite.scalars(by_hand)
  name = "compositional{}/image_to_text/R@1"
  assert first[name.format(".sample")] == scalars[name.format("")]
  assert by_hand["compositional"]["protocol"]["num_examples"] == 48

  # Resumed, on a faster machine.
  again = _evaluator(tmp_path, max_fraction=0.1)
  assert again.scalars(_variables(), 0.0) == first
  assert measured == [1]
  results, _, figures = again.final(_variables())
  # The last one takes all, and has the sample's figures beside them.
  assert results["compositional"]["num_candidates"] == _NUM
  assert suite.scalars(results).items() <= figures.items()
  assert first.items() <= figures.items()
  assert _passes(again) == [1, 1]
  whole = _evaluator(tmp_path)
  assert whole.final(_variables())[0] == results

  # Another limit is another decision, and no limit is none.
  saved = json.loads((tmp_path / evaluation_sample.NAME).read_text())
  assert saved["num_examples"] == 48
  other = _evaluator(tmp_path, max_fraction=0.2)
  more = other.scalars(_variables(), 0.9)
  assert measured == [1, 1]
  assert more["compositional.sample/num_examples"] == 112
  free = _evaluator(tmp_path).scalars(_variables(), 0.9)
  assert free == suite.scalars(results)


def test_measured_times(tmp_path):
  evaluator = _evaluator(tmp_path, max_fraction=0.5)
  figures = evaluator.scalars(_variables(), 1e-9)  # steps of no time
  assert figures["compositional.sample/num_examples"] == 16
  saved = json.loads((tmp_path / evaluation_sample.NAME).read_text())
  assert 0 < saved["seconds"] < saved["whole_seconds"]
  (tmp_path / "slow").mkdir()
  slow = _evaluator(tmp_path / "slow", max_fraction=0.5)
  assert ".sample" not in "".join(slow.scalars(_variables(), 1e9))


def test_a_sample_may_lack_what_a_set_needs(tmp_path):
  evaluator = _evaluator(tmp_path, max_fraction=0.5)
  data = evaluator.data
  split = test_suite.split_of(data, "compositional")
  split.names["en"] = ["", *[f"en {i}" for i in range(1, _NUM)]]
  split.keys = ["1F440-1F3FB", *["1F440"] * (_NUM - 1)]
  part = data.sample(1)
  results = suite.run(part, evaluator.embedder, _variables())
  assert "compositional" not in results
  assert "unseen_concept" in results
  split.names["en"][0] = "en 0"
  split.keys[0] = "1F440"
  part = data.sample(1)
  results = suite.run(part, evaluator.embedder, _variables())
  assert "no example belongs" in results["zero_shot"]["skin_tone"]["not_run"]
  with pytest.raises(ValueError, match="skin_tone: no example belongs"):
    suite.run(
      dataclasses.replace(part, is_sample=False),
      evaluator.embedder,
      _variables(),
    )


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_limits_that_are_none(share):
  with pytest.raises(ValueError, match=r"max_fraction must be above 0 and at"):
    _config(max_fraction=share).check()
