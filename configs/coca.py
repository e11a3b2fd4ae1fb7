"""CoCa (arXiv 2205.01917) as open_clip has it: pairs and captions in one step.

  b32 l14   towers, captioner and weights of losses of coca_ViT-B-32 and
            coca_ViT-L-14
  mini      a minute on two CPU cores, on emoji
Data: LAION-2B (re-LAION today), a list of URLs that img2dataset downloads into
  tars: --config.data.sources.main.path="PATH/{00000..41407}.tar". The tokenizer
  needs OpenAI's vocabulary: --config.data.tokenizer_path=FILE.
Sources: open_clip 3.3.0, model_configs/coca_*.json for sizes, params.py for the
  losses' weights (captions 2, pairs 1); the released weights' names for 13e9
  pairs in batches of 90k (laion2b_s13b_b90k), 90,112 here. Their learning
  rates were not found: those of configs/openclip.py for towers of the same size
  are ours. As in open_clip, all parameters with two dimensions decay.
Command:
  python main.py --config=configs/coca.py:b32 --workdir=runs/coca_b32 \
    --config.data.sources.main.path="PATH/{00000..41407}.tar" \
    --config.data.tokenizer_path=bpe_simple_vocab_16e6.txt.gz
  python main.py --config=configs/coca.py:mini --workdir=runs/coca_mini
Hardware: not known. Plan of b32 on v5e:2x4, jax 0.10.2: fits with
  --config.num_microbatches=16, 12.5 of 15.75 GiB a device (105.9 without); the
  largest batch that fits without, by powers of two, is 8,192.
Expected: not yet run. The released L/14 has an ImageNet zero-shot top-1 of
  75.6 % (github.com/facebookresearch/multimodal, pull request 507).
"""

import ml_collections

from configs import base, openclip
from configs.parts import captioning, clip_towers, variants, web

# Name -> variant of configs/openclip.py with the same towers.
VARIANTS = {"b32": "coca_vit_b32", "l14": "coca_vit_l14"}
_BATCH_SIZE, _NUM_EXAMPLES = 90_112, 13e9


def get_config(arg: str = "b32") -> ml_collections.ConfigDict:
  """Return the recipe of a variant.

  Raises:
    ValueError: no variant has this name.
  """
  if arg == "mini":
    config = base.get_config()
    clip_towers.set_mini(config, "gelu")
    config.model.image.num_queries = 8
  else:
    towers = variants.pick(__file__, arg, VARIANTS, mini=True)
    config = openclip.get_config(towers)
    web.set_examples(config, batch_size=_BATCH_SIZE, num_examples=_NUM_EXAMPLES)
    config.log_gradients_every_steps = 1000
  captioning.set_on(config)
  config.optimizer.weight_decay_mults = (
    (r"img/pool/queries|captioner/words", 1.0),
    *config.optimizer.weight_decay_mults,
  )
  return config
