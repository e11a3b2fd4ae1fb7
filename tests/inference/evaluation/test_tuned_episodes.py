"""Episodes of a set with and without a trained tower, by one command."""

import hashlib
import json

import numpy as np
import pytest

from evaluators.probes import episodes, tuned_episodes
from evaluators.probes import examples as examples_lib
from inference import model as model_lib
from inference.evaluation import evaluate_sets, set_measures
from models import dual_encoder
from tests.evaluators import meshes, test_results_schema
from tests.inference import wds_folders

_LABELS = np.arange(85) % 5


@pytest.mark.slow
def test_episodes_of_a_set_with_a_trained_tower(folder, tmp_path):
  """Figures are those of the set's images in its order, on one device too."""
  wds_folders.classification(tmp_path / "wds_noise", _LABELS.tolist())
  asked = set_measures.Measures(
    ["episodes", "tuned_episodes"], "trunk", shots=(1, 50), num_episodes=3
  )
  evaluate_sets.run(
    str(folder / "run"),
    suite="",
    names=[str(tmp_path / "wds_noise")],
    data_root="",
    out=str(tmp_path / "out"),
    cache_dir=str(tmp_path / "cache"),
    batch_size=16,
    num_threads=2,
    asked=asked,
  )
  results = json.loads((tmp_path / "out" / evaluate_sets.RESULTS).read_text())
  test_results_schema.validate(results)
  frozen, tuned = (results["noise"][name] for name in asked.names)

  model = model_lib.load(folder / "run", meshes.make_mesh())
  protocol = model.make_inputs().image_protocol
  images = np.stack(
    [
      protocol.apply(wds_folders.pixels(data))
      for data in wds_folders.noise(len(_LABELS))
    ]
  )
  features_fn = dual_encoder.feature_fn(model.config)
  uids = b"".join(
    hashlib.blake2b(b"s%07d" % row, digest_size=16).digest()
    for row in range(len(_LABELS))
  )
  by_hand = tuned_episodes.evaluate(
    examples_lib.Examples(
      np.asarray(features_fn(model.params, images)),
      _LABELS,
      np.frombuffer(uids, np.uint8).reshape(-1, 16),
    ),
    tuned_episodes.Tower(
      features_fn,
      model.params,
      lambda rows: (images[rows], images[rows][:, :, ::-1]),
      model.mesh,
    ),
    num_classes=6,
    shots=(1,),
    num_episodes=3,
  )[1]
  assert tuned["1_shot"]["top_1"] == by_hand.tuned.mean
  assert tuned["1_shot"]["std"] == by_hand.tuned.std
  above = tuned["1_shot"]["above_frozen"]
  assert above == pytest.approx(by_hand.above_frozen.mean, abs=1e-9)
  assert above == pytest.approx(
    tuned["1_shot"]["top_1"] - frozen["1_shot"]["top_1"], abs=1e-9
  )
  assert tuned["intervals"]["1_shot/top_1"] == list(by_hand.tuned.interval)
  assert tuned["intervals"]["1_shot/above_frozen"][0] < above
  protocol = tuned["protocol"]
  assert protocol["tuning"]["tower"] == {"learning_rate": 2e-4, "momentum": 0.9}
  assert protocol["tuning"]["head"] == {"learning_rate": 0.01, "momentum": 0.99}
  assert protocol["seed"] == frozen["protocol"]["seed"] == episodes.SEED
  assert protocol["episodes"] == frozen["protocol"]["episodes"] == 3
  assert "5 classes of 65" in protocol["left_out"]["50_shot"]
