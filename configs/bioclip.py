"""BioCLIP: CLIP ViT-B/16 fine-tuned on names of taxa (arXiv 2311.18803).

  tree_of_life  TreeOfLife-10M, unpacked beside metadata/catalog.csv
  shards        the same as tars of its make_wds_reproduce.py; main.path are the
                tars of train/, sets.rare_com.source.path Rare Species
  inat21        iNat21 alone, by the same catalog.csv
Source: github.com/Imageomics/bioclip, slurm/train.sh and model card (whose rate
  "1e4" is 1e-4 there). Captions are of one of five types a batch;
  --config.data.sources.main.grammar_draw=example draws for each example.
Command:
  python main.py --config=configs/bioclip.py --workdir=runs/bio \
    --config.data.sources.main.path=TREE \
    --config.evaluate.sets.rare_com.source.path=RARE
  and --task=evaluate --workdir=runs/bio --measures=few_shot, of rare_shots
Hardware: 8 A100 (80 GB), 4 days; theirs, as ours has not been run.
Expected: Rare Species, taxon_com, top-1 0.3809 (tree_of_life), 0.2133 (inat21);
  CLIP itself by com 0.3181 (data set card; 0.392, 0.194 and 0.266 in the model
  card, before duplicates were removed). Not yet run.
Their images are squashed to 224 x 224 before the crop, and fp16. They keep the
checkpoint of the lowest loss on `val`; here the last counts (docs/finetuning.md
selects). Assumed: 10.4 million pictures, the card's 2.7, 1.1 and 6.6 rounded.
Miniature: experiments/bioclip/README.md.
"""

import ml_collections

from configs import base
from configs.parts import clip_towers, domain, sources, tower_sizes, web
from configs.parts import variants as variants_lib
from evaluators.sets import kinds, names

# Pictures, 5 % of them `val`; iNat21's number is that of its page.
VARIANTS = {"tree_of_life": 10.4e6, "shards": 10.4e6, "inat21": 2_686_843}
VARIANT_NAMES = (*VARIANTS,)
# Columns of layouts and members of tars -> what follows "a photo of".
TEXT_TYPES = {"sci": "{sci}", "com": "{com}", "taxon": "{taxon}"} | {
  f"{x}_com": f"{{{x}}} with common name {{com}}" for x in ("sci", "taxon")
}
# CLIP's 80, and that of training (imagenet_zeroshot_data.py there).
PROMPTS = ("a photo of {c}.", *names.templates("imagenet1k"))


def get_config(arg: str = "tree_of_life") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  config = base.get_config()
  num_pictures = variants_lib.pick(__file__, arg, VARIANTS)
  clip_towers.set_adamw(config, learning_rate=1e-4, warmup_steps=1000)
  clip_towers.set_vit(config, "B", 16)
  clip_towers.set_text(config, tower_sizes.clip_text(512))
  clip_towers.set_model(config, 512, "quick_gelu")
  config.init_from = "hf://openai/clip-vit-base-patch16"
  web.set_open_clip_crop(config)
  num_examples = 100 * 0.95 * num_pictures
  web.set_examples(config, batch_size=32_768, num_examples=num_examples)
  config.seed = 42
  set_data(config, arg)
  return config


def set_data(
  config: ml_collections.ConfigDict, name: str, path: str = ""
) -> None:
  """Set captions of five types, and Rare Species by each of them."""
  texts = {x: f"a photo of {y}." for x, y in TEXT_TYPES.items()}
  fields = {x: x for x in ("sci", "com", "taxon")}
  if name == "shards":
    texts = {x: f"{{{x}}}" for x in TEXT_TYPES}
    fields = {x: f"{x}.txt" for x in TEXT_TYPES}
  section = {
    **{"path": path, "grammar": (*texts.items(),)},
    **{"grammar_fields": (*fields.items(),), "grammar_draw": "batch"},
  }
  train = (
    sources.source(**section).to_dict()
    if name == "shards"
    else domain.source(f"bioclip.{name}@train", **section)
  )
  every, query = (
    domain.source(f"bioclip.rare_species@{x}") for x in ("all", "query")
  )
  named = {"prompts": PROMPTS, "ks": (3,)}  # besides top-1 and top-5
  sets = {
    f"rare_{kind}": kinds.classification(every, label=kind, **named)
    for kind in sorted(TEXT_TYPES)
  }
  shots = {"label": "taxon", "training": "@support"} | named
  sets["rare_shots"] = kinds.classification(query, **shots)
  domain.set_layouts(config, train, **sets)
