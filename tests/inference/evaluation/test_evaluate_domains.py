"""A config's sets of places, items and unseen classes, from command to page."""

import json

import numpy as np
import pytest

from configs.parts import sources
from evaluators.measures import probes
from evaluators.metrics import classification
from evaluators.sets import kinds
from inference.evaluation import evaluate, set_measures
from tests import runs
from tests.evaluators import test_results_schema
from tests.inference import fresh_run, wds_folders
from training import config as config_lib

_NUM = 24
_CITIES = """name,country,latitude,longitude,population
Paris,France,48.86,2.35,2100000
Lyon,France,45.76,4.84,520000
Oslo,Norway,59.91,10.75,700000
Bergen,Norway,60.39,5.32,290000
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Return a folder with a run of random weights and its sets."""
  made = tmp_path_factory.mktemp("domains")
  images = made / "images"
  images.mkdir()
  rows = ["file,latitude,longitude"]
  for number, data in enumerate(wds_folders.noise(_NUM)):
    name = f"{number}.png"
    (images / name).write_bytes(data)
    rows.append(f"{name},{48.8 + number % 2 * 11},{2.3 + number % 2 * 8}")
    for split, is_in in (("train", number % 2), ("test", not number % 2)):
      path = made / split / "abcdef"[number // 2 % 6] / name
      path.parent.mkdir(parents=True, exist_ok=True)
      if is_in:
        path.write_bytes(data)
  (images / "metadata.csv").write_text("\n".join(rows) + "\n")
  (made / "cities.csv").write_text(_CITIES)
  (made / "unseen.txt").write_text("c\nf\n")
  items = [
    {"images": [f"{i}.png"], "texts": [f"{i} red", f"{i} blue", f"{i} hat"]}
    for i in range(10)
  ]
  (made / "items.jsonl").write_text(
    "".join(f"{json.dumps(x)}\n" for x in items)
  )
  config = runs.make_config({"data.cache_dir": str(made / "cache")})
  values = config_lib.to_mapping(config)
  table = sources.source(format="table", path=str(images), image=("file",))
  classes = sources.source(format="folder", path=str(made / "test"))
  values["evaluate"] |= {
    "batch_size": 8,
    "sets": {
      "streets": kinds.places(
        table.to_dict(), gazetteer=str(made / "cities.csv")
      ),
      "species": kinds.classification(
        classes.to_dict(),
        label="folder",
        training=str(made / "train"),
        ks=(3,),
        unseen=str(made / "unseen.txt"),
      ),
      "swaps": kinds.selection(str(made / "items.jsonl")),
    },
  }
  fresh_run.write(made / "run", config_lib.checked(values))
  return made


@pytest.mark.slow
def test_results_and_page(folder, capsys):
  asked = set_measures.Measures(("sgd_probe",))
  evaluate.run(str(folder / "run"), asked=asked)
  results = json.loads((folder / "run" / "results.json").read_text())
  test_results_schema.validate(results)
  species, streets = results["species"], results["streets"]
  assert (species["num_examples"], species["num_classes"]) == (12, 6)
  tops = [species[f"top_{k}"] for k in (1, 3, 5)]
  assert tops == sorted(tops)
  assert species["chance"]["top_3"] == 0.5
  low, high = species["intervals"]["top_3"]
  assert low <= species["top_3"] <= high
  gzsl = species["gzsl"]
  # 2 of 6 classes: the share of all that are right is the weighted mean.
  assert (4 * gzsl["seen"] + 2 * gzsl["unseen"]) / 6 == pytest.approx(tops[0])
  assert {"macro_f1", "weighted_f1"} <= species["sgd_probe"].keys()
  assert streets["hierarchical"].keys() == streets["flat"].keys()
  assert streets["num_countries"] == 2
  # A random city of either country is within 2,500 km of all images.
  for way in ("hierarchical", "flat"):
    assert streets[way]["within_2500_km"] == 1
    assert streets[way]["chance"]["within_2500_km"] == pytest.approx(1)
    assert 0 < streets[way]["chance"]["within_25_km"] < 1
  assert streets["protocol"]["cities_of_a_country"] == 30
  assert results["swaps"]["num_items"] == 10
  assert results["swaps"]["chance"]["accuracy"] == pytest.approx(1 / 3)
  page = (folder / "run" / "report.html").read_text()
  for words in (
    "hierarchical",
    "within 25 km",
    "harmonic mean",
    "Oslo, Norway",
  ):
    assert words in page
  printed = capsys.readouterr().out
  assert "species seen and unseen" in printed
  assert "sgd_probe: macro_f1" in printed


def test_a_probe_has_the_f1_of_its_predictions():
  rng = np.random.default_rng(0)
  label, predicted = rng.integers(0, 4, (2, 60))
  answers = classification.Answers(
    np.where(label == predicted, 1.0, np.inf), predicted, label, 4
  )
  figures = classification.figures(answers)
  assert {*probes._FIGURES} <= figures.keys()
  table = classification.per_class(label, predicted, 4)
  assert figures["macro_f1"] == pytest.approx(table["f1"].mean())
