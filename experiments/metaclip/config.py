"""MetaCLIP's claims in miniature: a head-heavy pool, balanced (README.md).

Data: python -m experiments.metaclip.prepare. Towers, rate, batch and the
  softmax loss are those of experiments/siglip.
"""

import ml_collections

from configs.parts import sources
from evaluators.sets import kinds
from experiments.metaclip import curate, prepare
from experiments.metaclip import pool as pool_lib
from experiments.parts import emoji_run, emoji_styles

NUM_EXAMPLES = 98_304
# Figures of the sets; R@10 is the one of the study.
_METRICS = ("R@1", "R@10", "median_rank")


def get_config() -> ml_collections.ConfigDict:
  """Return a run on the whole pool."""
  config = emoji_run.get_config()
  emoji_run.set_examples(config, NUM_EXAMPLES, 256)
  data = config.data
  data.sources.main = sources.source(
    format="table",
    path=f"{curate.FOLDER}/pool.jsonl",
    image=("image",),
    image_root=curate.EMOJI,
    caption=("caption",),
    language_field="language",
  )
  data.languages = pool_lib.LANGUAGES
  data.tokenizer, data.tokenizer_path = "hf", f"{curate.FOLDER}/tokenizer"
  data.vocab_size = prepare.VOCAB_SIZE
  config.loss.name = "softmax"
  config.model.scale_init, config.model.bias_init = 1 / 0.07, 0.0
  config.optimizer.learning_rate = 2e-3
  config.evaluate.sets = ml_collections.ConfigDict(
    {
      split: kinds.retrieval(
        sources.source(
          format="array_record",
          path=f"{curate.FOLDER}/{emoji_styles.RECORDS}",
          split=split,
        ).to_dict(),
        metrics=_METRICS,
      )
      for split in ("test", "head", "tail")
    }
  )
  return config


def subset(name: str) -> dict[str, str]:
  """Return the field of a trial on a selection of curate.py."""
  path = f"{curate.FOLDER}/curated/{name}/selection.npy"
  return {"data.sources.main.subset": path}
