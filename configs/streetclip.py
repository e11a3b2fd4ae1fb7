"""StreetCLIP (arXiv 2302.00275): CLIP ViT-L/14 of 336 pixels on street photos.

  plain    captions of town, region and country, where they are known
  pigeon   PIGEON's grammar: town and region are left out at random
  labels   season, weather and country by zero-shot, in place of IM2GPS
Source: the model card of geolocal/StreetCLIP (3 epochs of 1.1 M photos, rate
  1e-6, 3 x 32 pairs, 12 accumulated); config.py and pretrain_dataset.py of its
  authors' PIGEON (github.com/LukasHaas/PIGEON) for the optimizer, the wording
  and countries with an article, which StreetCLIP's authors do not publish.
Data: theirs are not public; OSV-5M (arXiv 2404.18873) stands in. IM2GPS,
  IM2GPS3K and BDD100K may lie in any folder below the same one.
Loss: softmax over 32 pairs, as their trainer shares negatives neither between
  accumulated steps nor devices; --config.loss.scope=global takes all 1,152.
Command:
  python -m experiments.streetclip.prepare --cities=cache/cities.csv
  python main.py --config=configs/streetclip.py:plain --workdir=runs/street \
    --config.data.sources.main.path=SETS
Hardware: 3 or 4 A100 of 80 GB, 12 hours (card); ours has not been run.
Expected: % within 25, 200, 750 and 2,500 km, of IM2GPS 28.3, 45.1, 74.7, 88.2
  (CLIP 27.0, 42.2, 71.7, 86.9), of IM2GPS3K 22.4, 37.4, 61.3, 80.4 (as others
  quote it). Not yet run.
Miniature: experiments/streetclip/README.md.
"""

from typing import Any

import ml_collections

from configs import clip
from configs.parts import clip_towers, domain, variants
from evaluators.sets import kinds

ARTICLES = (
  *("Bahamas", "British Virgin Islands", "Cayman Islands", "Cocos Islands"),
  *("Comoros", "Cook Islands", "Falkland Islands", "Faroe Islands"),
  *("French Southern Territories", "Maldives", "Marshall Islands"),
  *("Netherlands", "Northern Mariana Islands", "Paracel Islands"),
  *("Philippines", "Pitcairn Islands", "Seychelles", "Solomon Islands"),
  *("Spratly Islands", "Turks and Caicos Islands", "United Arab Emirates"),
  "United States",
)
_PHOTO = "A Street View photo "
_TOWN = "[close to the town of {town} ]"
_REGION = "[in the region of {region} ]"
_COUNTRY = "in {country:the}."
GRAMMARS = {
  "plain": (("plain", f"{_PHOTO}{_TOWN}{_REGION}{_COUNTRY}"),),
  "pigeon": (("pigeon", f"{_PHOTO}{_TOWN}?0.4{_REGION}?0.6{_COUNTRY}"),),
}
_LABELS = {
  "season": ("places.seasons@test", f"{_PHOTO}in {{c}}."),
  "weather": ("places.weather@val", f"{_PHOTO}in {{c}} weather."),
  "country": ("places.osv5m@test", f"{_PHOTO}in {{c}}."),
}
VARIANT_NAMES = (*GRAMMARS, "labels")
_NUM_PHOTOS = 1_100_000


def get_config(arg: str = "plain") -> ml_collections.ConfigDict:
  """Return the recipe of a variant; ValueError where none has this name."""
  variants.pick(__file__, arg, dict.fromkeys(VARIANT_NAMES))
  config = clip.get_config("vit_l14_336")
  config.init_from = "hf://openai/clip-vit-large-patch14-336"
  config.batch_size, config.num_microbatches = 1152, 36
  config.total_steps = 3 * _NUM_PHOTOS // config.batch_size
  config.loss.scope = "microbatch"
  optimizer, num_warmup = config.optimizer, config.total_steps // 5
  clip_towers.set_adamw(config, learning_rate=1e-6, warmup_steps=num_warmup)
  optimizer.weight_decay, optimizer.clip_norm = 1e-3, 1.0
  optimizer.schedule = "linear"
  config.data.augmentation.resize = "protocol"
  config.data.augmentation.protocol = "clip"
  config.text_lengths = (32,)
  config.checkpoint.every_steps = 250
  train = domain.source(
    "places.osv5m@train", **captions(arg if arg in GRAMMARS else "plain")
  )
  sets = {
    name: places(domain.source(f"places.{name}"))
    for name in ("im2gps", "im2gps3k")
  }
  if arg == "labels":
    sets = {name: labelled(name) for name in _LABELS}
  domain.set_layouts(config, train, **sets)
  return config


def captions(grammar: str) -> dict[str, Any]:
  """Return the fields of a source whose captions are of a grammar."""
  fields = domain.captions(GRAMMARS[grammar], "town", "region", "country")
  return fields | {"grammar_articles": ARTICLES}


def labelled(label: str) -> dict[str, Any]:
  """Return the set of a label, asked for by its prompt."""
  layout, prompt = _LABELS[label]
  source = domain.source(layout)
  return kinds.classification(source, label=label, prompts=(prompt,))


def places(
  source: dict[str, Any], gazetteer: str = "cache/cities.csv"
) -> dict[str, Any]:
  """Return a set of photos, located by captions of a table's cities."""
  return kinds.places(
    source,
    gazetteer=gazetteer,
    country_captions=(f"{_PHOTO}{_COUNTRY}",),
    city_captions=(f"{_PHOTO}{_TOWN.replace('town}', 'city}')}{_COUNTRY}",),
    articles=ARTICLES,
  )
