"""Recipes of models that are trained on pairs of the web, small steps first.

Slices: the paper's own where it trained on TPU v4 or v5e. For v3 the v4 slice
of as many chips; for A100 that v4 slice (275 and 312 TFLOP/s, 32 and 40 GB a
chip) whose power of two is nearest and divides the batch; for V100 (125
TFLOP/s) and where no hardware is stated a pod of 256 TPU v5e (197 TFLOP/s), and
of v6e if its memory is needed.
"""

from experiments.recipes import recipe

_RECIPE = recipe.Recipe
_TARS = "--config.data.sources.main.path=PATH/{00000..41407}.tar"
_BPE = "--config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz"
_POD = {"mesh.data": 16, "mesh.fsdp": 16}
# Meshes of TPU v4 slices of 8 x 8 x 4 and 8 x 8 x 8 chips, whose axes cannot be
# split: 16 is no product of whole axes.
_V4_256 = {"mesh.data": 32, "mesh.fsdp": 8}
_V4_512 = {"mesh.data": 64, "mesh.fsdp": 8}
_A100 = "A100 of 40 GB"
_OPENCLIP = (
  "trained_models_info.csv of github.com/LAION-AI/scaling-laws-openclip"
)


def _openclip_cost(pairs: float, rate: float) -> str:
  """Return A100-hours, from the published images a second of one."""
  hours = pairs / rate / 3600
  return f"{hours:,.0f} A100-hours: {rate} images/s a GPU (open_clip's docs)"


_CLIP = (
  _RECIPE(
    name="clip_vit_b32",
    folder="clip",
    module="clip",
    variant="vit_b32",
    topology="v5e:16x16",
    pairs=12.8e9,
    pairs_source="32 epochs of 400 M pairs (arXiv 2103.00020)",
    expected="ImageNet zero-shot 63.4, as arXiv 2309.16671, table 4, measured"
    " the published weights",
    hardware="not stated for this model",
    data=(_TARS, _BPE),
  ),
  _RECIPE(
    name="clip_vit_l14",
    folder="clip",
    module="clip",
    variant="vit_l14",
    topology="v5e:16x16",
    pairs=12.8e9,
    pairs_source="32 epochs of 400 M pairs (arXiv 2103.00020)",
    expected="ImageNet zero-shot 75.5, as arXiv 2309.16671, table 4, measured"
    " the published weights",
    hardware="256 V100",
    cost="73,728 V100-hours: 12 days (section 2.5)",
    changes=_POD,
    data=(_TARS, _BPE),
  ),
  _RECIPE(
    name="clip_rn50x64",
    folder="clip",
    module="clip",
    variant="rn50x64",
    topology="v5e:16x16",
    pairs=12.8e9,
    pairs_source="32 epochs of 400 M pairs (arXiv 2103.00020)",
    expected="no figure of this model was read",
    hardware="592 V100",
    cost="255,744 V100-hours: 18 days (section 2.5)",
    changes=_POD | {"num_microbatches": 8},
    data=(_TARS, _BPE),
    note="Batch normalisation then has the statistics of a part.",
  ),
)

_OPENCLIP_RECIPES = tuple(
  _RECIPE(
    name=f"openclip_{variant}",
    folder="openclip",
    module="openclip",
    variant=variant,
    topology=topology,
    pairs=pairs,
    pairs_source=_OPENCLIP,
    expected=f"ImageNet zero-shot {top1} (LAION-2B; EXPECTED of the config)",
    hardware=f"{num_gpus} {_A100}",
    cost=_openclip_cost(pairs, rate),
    changes=changes,
    data=(_TARS, _BPE),
  )
  for variant, topology, pairs, top1, num_gpus, rate, changes in (
    ("vit_b32", "v4:8x8x4", 34e9, 66.47, 824, 850, {"model.remat_chunks": 3}),
    # Between 337 and 396 images a second.
    ("vit_b16", "v4:8x8x4", 34e9, 70.22, 344, 396, {"model.remat_chunks": 8}),
    (
      *("vit_l14", "v4:8x8x4", 34e9, 75.20, 384, 79),
      _V4_256 | {"model.remat_chunks": 8},
    ),
    (
      *("vit_h14", "v4:8x8x4", 34e9, 77.97, 824, 42),
      _V4_256 | {"model.remat_chunks": 3},
    ),
    ("vit_g14", "v4:8x8x8", 13e9, 76.66, 800, 31, _V4_512),
  )
)

_DATACOMP = (
  _RECIPE(
    name="openclip_datacomp_xlarge",
    folder="openclip",
    module="openclip",
    variant="datacomp_xlarge",
    topology="v4:8x8x8",
    pairs=12.8e9,
    pairs_source="DataComp's scale_configs.py (arXiv 2304.14108)",
    expected="ImageNet zero-shot 79.2 (DataComp-1B; EXPECTED of the config)",
    hardware=f"512 {_A100}",
    changes=_V4_512 | {"model.remat_chunks": 4},
    data=(_TARS, _BPE),
  ),
)

_METACLIP = (
  *(
    _RECIPE(
      name=f"metaclip_{variant}",
      folder="metaclip",
      module="metaclip",
      variant=variant,
      topology="v5e:16x16",
      pairs=12.8e9,
      pairs_source="arXiv 2309.16671, section 4",
      expected=f"ImageNet zero-shot {top1} (t = 170k, 2.5 B pairs; the paper)",
      hardware="not stated",
      changes=changes,
      data=(_TARS, _BPE),
    )
    for variant, top1, changes in (
      ("vit_b32", 67.6, {}),
      ("vit_l14", 79.2, _POD),
      ("vit_h14", 80.5, _POD),
      ("vit_bigg14", 82.1, {"mesh.data": 4, "mesh.fsdp": 64}),
    )
  ),
  _RECIPE(
    name="metaclip_worldwide_h14",
    folder="metaclip",
    module="metaclip",
    variant="worldwide_h14",
    topology="v6e:16x16",
    pairs=29e9,
    pairs_source="arXiv 2507.22062",
    expected="no figure of this model was read",
    hardware="not stated",
    changes=_POD | {"model.remat_chunks": 7},
    data=(
      *(_TARS, "--config.data.tokenizer_path=XLM_V"),
      "--config.data.sources.main.language_field=json.language",
    ),
  ),
)

_DFN = tuple(
  _RECIPE(
    name=f"dfn_{variant}",
    folder="dfn",
    module="dfn",
    variant=variant,
    topology="v5e:16x16",
    pairs=pairs,
    pairs_source="arXiv 2309.17425",
    expected=expected,
    hardware="not stated",
    changes=changes,
    data=(_TARS, *data, _BPE),
  )
  for variant, pairs, expected, changes, data in (
    (
      *("filter", 5.12e9, "no figure of the filter was read", {}),
      ("--config.init_from=hf://openai/clip-vit-base-patch32",),
    ),
    (
      *("vit_l14", 12.8e9),
      "ImageNet zero-shot 81.4 (open_clip's evaluation of its weights)",
      _POD | {"model.remat_chunks": 4},
      ("--config.data.sources.main.subset=UIDS.npy",),
    ),
    (
      *("vit_h14", 39e9),
      "ImageNet zero-shot 83.4 (open_clip's evaluation of its weights)",
      _POD | {"model.remat_chunks": 8},
      ("--config.data.sources.main.subset=UIDS.npy",),
    ),
  )
)

_SIGLIP = tuple(
  _RECIPE(
    name=f"siglip_{variant}",
    folder="siglip",
    module="siglip",
    variant=variant,
    topology=topology,
    pairs=pairs,
    pairs_source="the published weights' (arXiv 2303.15343, table 3)",
    expected=f"ImageNet zero-shot {top1} (table 3)",
    hardware=hardware,
    cost=cost,
    changes=changes,
    data=(_TARS, "--config.data.tokenizer_path=c4_en.model"),
  )
  for variant, topology, pairs, top1, hardware, cost, changes in (
    (
      *("b16", "v4:2x4x4", 40e9, 76.2, "32 TPU v4"),
      "3,840 v4-hours: 5 days, of a run whose number of pairs was not read",
      {},
    ),
    (
      *("l16_256", "v4:2x2x4", 40e9, 80.5, "16 TPU v4"),
      "1,152 v4-hours: 3 days (its model card), too few for these pairs by the"
      " bound beside it",
      {"mesh.data": 1, "mesh.fsdp": 16, "num_microbatches": 4},
    ),
    ("so400m14_384", "v5e:16x16", 5e9, 83.2, "not stated", "", _POD),
  )
)

_SIGLIP2 = tuple(
  _RECIPE(
    name=f"siglip2_{variant}",
    folder="siglip2",
    module="siglip2",
    variant=variant,
    topology="v5e:16x16",
    pairs=40e9,
    pairs_source="arXiv 2502.14786",
    expected=f"ImageNet zero-shot {top1} (table 1; trained with all losses)",
    hardware="up to 2,048 TPU v5e",
    changes=changes,
    data=(_TARS, "--config.data.tokenizer_path=gemma.model"),
  )
  for variant, top1, changes in (
    ("b16_256", 79.1, {}),
    ("naflex_b16", 78.5, {}),
    ("l16_256", 82.5, _POD),
    ("so400m14", 83.2, _POD),
    ("gopt16_256", 84.5, _POD),
    ("full_b16_256", 79.1, _POD),
  )
)

_LIT = tuple(
  _RECIPE(
    name=f"lit_{variant}",
    folder="lit",
    module="lit",
    variant=variant,
    topology="v4:4x4x4",
    pairs=pairs,
    pairs_source=pairs_source,
    expected=expected,
    hardware="64 TPU v4",
    cost=cost,
    data=(
      *("--config.data.sources.main.path=PATH/{00000..01242}.tar",),
      *("--config.init_image_from=VIT", "--config.init_text_from=BERT"),
      "--config.data.tokenizer_path=vocab.txt",
    ),
  )
  for variant, pairs, pairs_source, expected, cost in (
    (
      *("b16_base", 30_000 * 4096),
      "30,000 steps (README_lit.md of big_vision) of 4,096",
      "ImageNet zero-shot 72.1 (README_lit.md)",
      "192 v4-hours: an eighth of a day (model card)",
    ),
    (
      *("l16_large", 60_000 * 4096),
      "60,000 steps (README_lit.md of big_vision) of 4,096",
      "ImageNet zero-shot 75.7 (README_lit.md)",
      "1,536 v4-hours: a day (model card)",
    ),
  )
)

_COCA = tuple(
  _RECIPE(
    name=f"coca_{variant}",
    folder="coca",
    module="coca",
    variant=variant,
    topology="v5e:16x16",
    pairs=13e9,
    pairs_source="name of the released weights, laion2b_s13b_b90k",
    expected=expected,
    hardware="not known",
    changes=changes,
    data=(_TARS, _BPE),
  )
  for variant, expected, changes in (
    ("b32", "no figure of this model was read", {}),
    (
      "l14",
      "ImageNet zero-shot 75.6 (github.com/facebookresearch/multimodal, pull"
      " request 507)",
      _POD | {"model.remat_chunks": 8},
    ),
  )
)

_SWIN = (
  _RECIPE(
    name="unicl_swin_b",
    folder="florence/unicl",
    module="unicl",
    variant="swin_b",
    topology="v5e:2x4",
    pairs=32 * 28e6,
    pairs_source="32 epochs (its configs) of 28 M pairs, a length of ours",
    expected="ImageNet zero-shot 44.3, mean of 14 sets 52.2 (README of"
    " github.com/microsoft/UniCL)",
    hardware="not stated",
    data=(_TARS, _BPE),
  ),
  _RECIPE(
    name="florence_coswin_h",
    folder="florence",
    module="florence",
    variant="coswin_h",
    topology="v4:8x8x8",
    pairs=1_260_000 * 24_576,
    pairs_source="1,260,000 steps of 24,576 (arXiv 2111.11432, section 3.1; the"
    " last 80,000 are of a batch of ours)",
    expected="ImageNet zero-shot 83.74 (table 1)",
    hardware=f"512 {_A100}",
    cost="122,880 A100-hours: 10 days",
    changes=_V4_512 | {"num_microbatches": 8},
    data=(_TARS,),
  ),
)

_ALIGN = (
  _RECIPE(
    name="align_coyo_b7_base",
    folder="align",
    module="align",
    variant="coyo_b7_base",
    topology="v4:8x8x8",
    pairs=300_000 * 65_536,
    pairs_source="300,000 steps of 65,536 (COYO-ALIGN)",
    expected="COCO R@1 image to text 61.2, text to image 43.1 (COYO-ALIGN)",
    hardware="TPU v3-1024, 1,024 cores",
    data=(_TARS, "--config.data.tokenizer_path=vocab.txt"),
  ),
  _RECIPE(
    name="align_l2_large",
    folder="align",
    module="align",
    variant="l2_large",
    topology="v4:8x8x8",
    pairs=1_200_000 * 16_384,
    pairs_source="1.2 M steps of 16,384 (arXiv 2102.05918, section 5.1)",
    expected="ImageNet zero-shot 76.4, COCO R@1 58.6 and 45.6 (the paper)",
    hardware="1,024 cores of TPU v3",
    changes=_V4_512,
    data=(_TARS, "--config.data.tokenizer_path=vocab.txt"),
  ),
)

RECIPES = (
  *_CLIP[:1],
  *_OPENCLIP_RECIPES[:1],
  *_METACLIP[:1],
  *_DFN[:1],
  *_LIT,
  *_SIGLIP[:1],
  *_SIGLIP2[:1],
  *_CLIP[1:2],
  *_OPENCLIP_RECIPES[1:],
  *_DATACOMP,
  *_METACLIP[1:],
  *_DFN[1:],
  *_SIGLIP[1:],
  *_COCA,
  *_SIGLIP2[1:],
  *_SWIN,
  *_CLIP[2:],
  *_ALIGN,
)
