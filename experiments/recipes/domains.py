"""Recipes of models that begin with CLIP's weights, smallest first.

Slices have about as many chips as the paper's hardware had devices, four at
least: the compiler knows no smaller slice of TPU v5e.
"""

from experiments.recipes import recipe

_RECIPE = recipe.Recipe

RECIPES = (
  _RECIPE(
    name="pubmedclip_vit_b32",
    folder="pubmedclip",
    module="pubmedclip",
    variant="vit_b32",
    topology="v5e:2x2",
    pairs=50 * 65_460,
    pairs_source="50 epochs (its configs) of ROCO's 65,460 pictures of"
    " radiology, as they are often counted",
    expected="no figure of this stage is published",
    hardware="one GPU",
    data=("--config.data.sources.main.path=ROCO",),
  ),
  _RECIPE(
    name="plip_code",
    folder="plip",
    module="plip",
    variant="code",
    topology="v5e:2x2",
    pairs=5 * 208_414,
    pairs_source="5 epochs, its trainer's default, of OpenPath's 208,414 pairs",
    expected="zero-shot, weighted F1, 0.565 to 0.832 over four sets (its"
    " abstract)",
    hardware="not published",
    data=("--config.data.sources.main.path=SETS",),
  ),
  _RECIPE(
    name="clip_rsicd_adam",
    folder="clip_rsicd",
    module="clip_rsicd",
    variant="adam",
    # Softmax over each device's 128 pairs, as on the paper's 8 cores.
    topology="v5e:2x4",
    pairs=10 * 43_670,
    pairs_source="ten epochs of 43,670 captions, as its committed script; that"
    " of the best run is not published",
    expected="score@1, 3, 5, 10 of 30 scenes 0.883, 0.968, 0.982, 0.998 (README"
    " of github.com/arampacha/CLIP-rsicd)",
    hardware="TPU v3-8, 8 cores",
    data=("--config.data.sources.main.path=RSICD",),
  ),
  _RECIPE(
    name="fashionclip_v1",
    folder="fashionclip",
    module="fashionclip",
    variant="v1",
    topology="v5e:2x2",
    pairs=5 * 700_000,
    pairs_source="five epochs, ours, of Farfetch's 700,000 products",
    expected="weighted F1 on F-MNIST, KAGL, DeepFashion 0.74, 0.67, 0.48"
    " (README of github.com/patrickjohncyh/fashion-clip)",
    hardware="not published",
    data=("--config.data.sources.main.path=FASHION",),
  ),
  _RECIPE(
    name="streetclip_plain",
    folder="streetclip",
    module="streetclip",
    variant="plain",
    topology="v5e:2x2",
    pairs=3 * 1_100_000,
    pairs_source="3 epochs of 1.1 M photos (model card)",
    expected="% of IM2GPS within 25, 200, 750 and 2,500 km 28.3, 45.1, 74.7,"
    " 88.2 (arXiv 2302.00275)",
    hardware="3 or 4 A100 of 80 GB",
    cost="36 to 48 A100-hours: 12 hours (model card)",
    changes={"mesh.data": 1, "mesh.fsdp": 4},
    data=("--config.data.sources.main.path=SETS",),
  ),
  _RECIPE(
    name="bioclip_tree_of_life",
    folder="bioclip",
    module="bioclip",
    variant="tree_of_life",
    topology="v4:2x2x2",
    pairs=100 * 0.95 * 10.4e6,
    pairs_source="100 epochs of 95 % of 10.4 M pictures (train.sh, model card)",
    expected="Rare Species, scientific and common names, top-1 0.3809 (data set"
    " card)",
    hardware="8 A100 of 80 GB",
    cost="768 A100-hours: 4 days (model card)",
    changes={"num_microbatches": 8},
    data=(
      "--config.data.sources.main.path=TREE",
      "--config.evaluate.sets.rare_com.source.path=RARE",
    ),
  ),
  _RECIPE(
    name="clipbert_msrvtt_retrieval",
    folder="clipbert",
    module="clipbert",
    variant="msrvtt_retrieval",
    topology="v5e:4x4",
    pairs=20 * 7_010,
    pairs_source="20 epochs (released config) of 7,010 videos, a number that"
    " was recalled, not read",
    expected="text to video R@1 22.0, R@5 46.8, R@10 59.9, median rank 6 (from"
    " other papers' tables)",
    hardware="4 GPUs (README of the released code)",
    changes={"model.remat": "dense"},
    data=(
      "--config.data.sources.main.path=MSRVTT",
      "--config.data.tests.test.path=MSRVTT",
      "--config.init_text_from=BERT",
      "--config.init_image_from=RESNET",
    ),
    task="fuse",
  ),
)
