"""Study of MetaCLIP: t of one list, and a list and a t for each language."""

from experiments.metaclip import config, curate
from experiments.metaclip import pool as pool_lib
from experiments.parts import emoji_run
from experiments.studies import claims
from experiments.sweeps import study

RAW = "raw pool"
# Pictures of the sets head and tail: a fifth of the test set each.
NUM_END = 227
# Values of t on one list, for the chart; 4 is that of a 6 % tail.
_ONE_LIST = tuple(x.t for x in curate.SELECTIONS.values() if x.is_one_list)
_OTHERS = tuple(x for x in pool_lib.LANGUAGES if x != "en")


def _mean(evaluated: str, languages: tuple[str, ...]) -> tuple[str, ...]:
  return tuple(
    f"{evaluated}/languages/{language}/text_to_image/R@10"
    for language in languages
  )


def _one_list(t: int) -> str:
  return f"one list, t = {t}"


_CHANCE = 10 / emoji_run.NUM_TEST
_END_CHANCE = 10 / NUM_END
_ALL, _ENGLISH = "all languages", "English"
_RARE = "five rarest languages"
_HEAD, _TAIL = "head concepts", "tail concepts"

STUDY = claims.Study(
  claim=(
    "Pairs of a head-heavy pool that are balanced over metadata train a better"
    " model than the whole pool, best where entries below t have 6 % of the"
    " matches; with a t for each language, from the same tail, English is"
    " better than with one list of all languages' entries, or with one t."
  ),
  source="arXiv 2309.16671 and 2507.22062, their ablations of t",
  arms=(
    claims.Arm(RAW, {}),
    *(
      claims.Arm(
        _one_list(t), config.subset(f"one_list_{t}"), group="one list", x=t
      )
      for t in _ONE_LIST
    ),
    claims.Arm("by language, t = 4", config.subset("same_t_4")),
    claims.Arm("by language, own t (en 10)", config.subset("own_t_10")),
    claims.Arm("by language, own t (en 40)", config.subset("own_t_40")),
  ),
  figures=(
    claims.Figure(_ALL, _mean("test", pool_lib.LANGUAGES), _CHANCE),
    claims.Figure(_ENGLISH, _mean("test", ("en",)), _CHANCE),
    claims.Figure(_RARE, _mean("test", pool_lib.RARE), _CHANCE),
    claims.Figure(_HEAD, _mean("head", pool_lib.LANGUAGES), _END_CHANCE),
    claims.Figure(_TAIL, _mean("tail", pool_lib.LANGUAGES), _END_CHANCE),
    *(claims.Figure(x, _mean("test", (x,)), _CHANCE) for x in _OTHERS),
  ),
  comparisons=(
    claims.Comparison(RAW, _one_list(4), (_ALL, _HEAD, _TAIL)),
    claims.Comparison(
      _one_list(4), "by language, own t (en 10)", (_ENGLISH, _RARE)
    ),
    claims.Comparison(
      _one_list(16), "by language, own t (en 40)", (_ENGLISH, _RARE)
    ),
    claims.Comparison(
      "by language, t = 4", "by language, own t (en 10)", (_ENGLISH,)
    ),
  ),
  chart=claims.Lines("t, matches of an entry", is_log=True),
  num_columns=5,
  num_seeds=3,
  run_minutes=3.0,
)


def get_study() -> list[study.Changes]:
  """Return the trials of --task=sweep."""
  return STUDY.trials()
