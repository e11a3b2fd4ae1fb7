"""DataComp's 40 sets and its means."""

import numpy as np
import pytest

from evaluators.sets import datacomp

# Figures of tasklist.yml: key, name, size, classes, metric, chance, folder.
ROWS = [
  (
    *("vtab/caltech101", "Caltech-101", 6085, 102, "mean_per_class_recall"),
    *(0.009804, "wds_vtab-caltech101_test"),
  ),
  ("imagenet1k", "ImageNet 1k", 50000, 1000, "acc1", 0.001, None),
  ("objectnet", "ObjectNet", 18574, 113, "acc1", 0.009481, None),
  ("sun397", "SUN397", 108754, 397, "acc1", 0.004645, "wds_sun397_test"),
  (
    *("wilds/fmow", "FMoW", 22108, 62, "acc_worst_region", 0.027193),
    "wds_wilds-fmow_test",
  ),
  (
    *("fairness/dollar_street", "Dollar Street", 3503, 58, "acc_top5_wg"),
    *(None, "wds_dollar_street_test"),
  ),
  ("misc/winogavil", "WinoGAViL", 3563, 0, "jaccard_score_10-12", 0.205, None),
  ("fairness/utkface", "UTKFace", 23703, 0, "", None, "wds_utkface_test"),
]
# Groups of aggregate_scores.py, by the names of the sets.
SHIFTS = {
  *("ImageNet Sketch", "ImageNet v2", "ImageNet-A", "ImageNet-O"),
  *("ImageNet-R", "ObjectNet"),
}
VTAB = {
  *("Caltech-101", "CIFAR-100", "CLEVR Counts", "CLEVR Distance"),
  *("Describable Textures", "EuroSAT", "KITTI Vehicle Distance"),
  *("Oxford Flowers-102", "Oxford-IIIT Pet", "PatchCamelyon", "RESISC45"),
  *("SVHN", "SUN397"),
}
RETRIEVAL = {"Flickr", "MSCOCO", "WinoGAViL"}


def _figures():
  random = np.random.default_rng(0)
  return {key: float(random.random()) for key in datacomp.main_tasks()}


@pytest.mark.parametrize(
  ("key", "name", "size", "classes", "metric", "chance", "folder"), ROWS
)
def test_table(key, name, size, classes, metric, chance, folder):
  task = datacomp.tasks()[key]
  assert (task.name, task.size, task.classes) == (name, size, classes)
  assert (task.metric, task.chance) == (metric, chance)
  assert folder is None or task.folder == folder


def test_all_sets_are_in_the_table():
  tasks = datacomp.tasks()
  assert (len(tasks), len(datacomp.main_tasks())) == (40, 38)
  metrics = [task.metric for task in tasks.values()]
  assert metrics.count("acc1") == 27
  assert metrics.count("mean_per_class_recall") == 4
  # A figure that changes by mistake changes one of these.
  assert sum(task.size for task in tasks.values()) == 732_026
  assert sum(task.classes for task in tasks.values()) == 5_630
  chances = [task.chance for task in tasks.values() if task.chance is not None]
  assert len(chances) == 34
  assert sum(chances) == pytest.approx(3.364938, abs=1e-9)


def test_repositories():
  tasks = datacomp.tasks()
  assert tasks["cars"].repository == "djghosh/wds_cars_test"
  assert tasks["fairness/geode"].repository == "djghosh/wds_geode_test"
  assert tasks["misc/winogavil"].repository == "nlphuji/winogavil"


def test_main_figures():
  tasks = datacomp.main_tasks()
  row = {
    "top_1": 1.0,
    "mean_per_class": 2.0,
    "macro_f1": 3.0,
    "worst_group_top_1": 4.0,
    "worst_group_top_5": 5.0,
    "jaccard_score_10-12": 6.0,
    "image_to_text": {"R@1": 6.0},
    "text_to_image": {"R@1": 8.0},
  }
  figures = {key: datacomp.main_figure(x, row) for key, x in tasks.items()}
  assert figures["cars"] == 1.0
  assert figures["vtab/pets"] == 2.0
  assert figures["wilds/iwildcam"] == 3.0
  assert figures["wilds/fmow"] == figures["fairness/geode"] == 4.0
  assert figures["fairness/dollar_street"] == 5.0
  assert figures["misc/winogavil"] == 6.0
  assert figures["retrieval/flickr_1k_test_image_text_retrieval"] == 7.0
  with pytest.raises(KeyError):
    datacomp.main_figure(datacomp.tasks()["fairness/utkface"], row)


# ViT-bigG-14 of laion2b_s39b_b160k in open_clip's docs/openclip_results.csv, in
# the order of its columns, ImageNet first.
PUBLISHED = (
  *(0.8009, 0.9484, 0.9824, 0.8752, 0.2989, 0.2002, 0.3379, 0.6867, 0.6919),
  *(0.4953, 0.9309, 0.6244, 0.6894, 0.7359, 0.6933, 0.3785, 0.9213, 0.1308),
  *(0.7157, 0.7284, 0.8163, 0.9529, 0.8077, 0.6364, 0.6535, 0.7235, 0.9460),
  *(0.9850, 0.7450, 0.6961, 0.8623, 0.5938, 0.4488, 0.1760, 0.5905, 0.2352),
  *(0.6857, 0.9127),
)


def test_a_published_average():
  keys = list(datacomp.main_tasks())
  keys.insert(0, keys.pop(keys.index("imagenet1k")))
  figures = dict(zip(keys, PUBLISHED, strict=True))
  (mean,) = (x for x in datacomp.aggregate(figures) if x.name == "Average")
  # Figures have four digits.
  assert mean.value == pytest.approx(0.6666803978865665, abs=5e-5)


def test_group_metadata():
  fields = {key: task.fields for key, task in datacomp.tasks().items()}
  assert fields["wilds/camelyon17"] == ("hospital", "slide", "y")
  assert fields["wilds/fmow"] == ("region", "year", "y")
  assert fields["wilds/iwildcam"][0] == "location"
  assert fields["fairness/geode"] == ("region", "country")
  assert fields["cars"] == ()
  for task in datacomp.tasks().values():
    assert task.group_by == "" or task.group_by in task.fields
  assert datacomp.tasks()["wilds/fmow"].group_by == "region"


def test_means_are_datacomps():
  figures = _figures()
  by_name = {datacomp.tasks()[key].name: x for key, x in figures.items()}
  means = {mean.name: mean for mean in datacomp.aggregate(figures)}
  for name, group in (
    ("ImageNet", {"ImageNet 1k"}),
    ("ImageNet dist. shifts", SHIFTS),
    ("VTAB", VTAB),
    ("Retrieval", RETRIEVAL),
    ("Average", set(by_name)),
  ):
    wanted = np.mean([by_name[x] for x in group])
    assert means.pop(name).value == pytest.approx(wanted, abs=1e-12)
  assert not means


def test_partial_means_have_other_names():
  figures = _figures()
  del figures["vtab/dtd"]
  names = [mean.name for mean in datacomp.aggregate(figures)]
  assert names == [
    *("ImageNet", "ImageNet dist. shifts", "VTAB, 12 of 13 sets"),
    *("Retrieval", "mean of 37 of 38 sets"),
  ]
  assert datacomp.aggregate({}) == []
  # Tables alone, and sets of others, are in no mean.
  assert datacomp.aggregate({"fairness/fairface": 1.0, "mine": 1.0}) == []


def test_a_set_unlike_the_published_is_in_no_average():
  means = datacomp.aggregate(_figures(), unlike=["cars"])
  names = [mean.name for mean in means]
  assert "Average" not in names
  assert names[-1] == "mean of 38 sets, 1 of them unlike the published"
  assert "VTAB" in names


def test_a_figure_that_is_none_is_refused():
  with pytest.raises(ValueError, match="cars must have a finite figure"):
    datacomp.aggregate({"cars": float("nan")})
