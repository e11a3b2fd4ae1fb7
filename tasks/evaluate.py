"""Evaluate a model on a config's sets, or on sets of the field by name."""

from typing import Any

from absl import app
from absl import flags as absl_flags

from tasks import cluster_flags, flags

_SUITE = absl_flags.DEFINE_string(
  "suite",
  "",
  "Suite of sets: datacomp38, vtab, imagenet_shifts, retrieval, or a text file"
  " with a name a line.",
)
_SETS = absl_flags.DEFINE_list(
  "sets",
  [],
  "Names of sets, as imagenet1k,cars, or paths of wds_* folders, separated by"
  " commas.",
)
_DATA_ROOT = absl_flags.DEFINE_string(
  "data_root",
  "",
  "Folder with a folder for each set, on disk or at gs:// or s3://;"
  " docs/evaluation.md.",
)
_PROTOCOL = absl_flags.DEFINE_enum(
  "protocol",
  "own",
  ["own", "clip", "siglip", "open_clip", "big_vision", "datacomp"],
  "Resize, crop, names and prompts: the model's own, or those that published"
  " figures were made by; docs/evaluation.md.",
)
_NUM_THREADS = absl_flags.DEFINE_integer(
  "num_threads", 2, "Threads that decode the images of --suite and --sets."
)
_MEASURES = absl_flags.DEFINE_list(
  "measures",
  [],
  "Measures of the sets beyond their own figures: linear_probe, sgd_probe,"
  " few_shot, episodes, tuned_episodes, knn, calibration, geometry,"
  " corruptions, texts.",
)
_FEATURES = absl_flags.DEFINE_string(
  "features",
  "embedding",
  "Features that linear_probe, sgd_probe, few_shot, episodes, tuned_episodes"
  " and knn read: embedding, or trunk, the image tower's before its"
  " projection.",
)
_SHOTS = absl_flags.DEFINE_list(
  "shots",
  None,
  "Shots of a class of --measures=few_shot,episodes,tuned_episodes, separated"
  " by commas; by default 1,5,10,25 of few_shot and 5,20,50 of episodes.",
)
_NUM_EPISODES = absl_flags.DEFINE_integer(
  "num_episodes",
  600,
  "Episodes of each number of shots of --measures=episodes,tuned_episodes;"
  " 600 are CD-FSL's.",
)
_FROST = absl_flags.DEFINE_string(
  "frost_textures",
  "",
  "Folder of textures for the frost of --measures=corruptions; without it,"
  " frost is left out.",
)
_DENSE = absl_flags.DEFINE_list(
  "dense",
  [],
  "Sets of masks or depths for a linear head on frozen patch tokens,"
  " LAYOUT:PATH separated by commas: voc:FOLDER, ade20k:FOLDER, nyu:FOLDER or"
  " table:FILE.json; docs/evaluation.md.",
)
_DENSE_PROBE = absl_flags.DEFINE_list(
  "dense_probe",
  [],
  "Fields of the training of --dense, separated by commas, as"
  " num_steps=1000,learning_rates=1e-3/3e-3; evaluators/dense/probe_config.py.",
)
FLAGS = (
  *(flags.CONFIG, flags.WORKDIR, flags.INIT_FROM, _SUITE, _SETS, _DATA_ROOT),
  *(_PROTOCOL, flags.OUT, flags.BATCH_SIZE, flags.CACHE_DIR, _NUM_THREADS),
  *(flags.JSON, _MEASURES, _FEATURES, _SHOTS, _NUM_EPISODES, _FROST),
  *(flags.INTERPOLATE, _DENSE, _DENSE_PROBE),
  *cluster_flags.FLAGS,
)


def run() -> int:
  """Run --task=evaluate."""
  return cluster_flags.run_joined(_evaluate)


def _evaluate() -> int:
  path = flags.model()
  if _DENSE.value:
    return _probe(path)
  if _DENSE_PROBE.present:
    raise app.UsageError("--dense_probe needs --dense beside it")
  if not (_SUITE.value or _SETS.value):
    from inference.evaluation import evaluate

    for flag in (_DATA_ROOT, flags.BATCH_SIZE, _NUM_THREADS):
      if flag.present:
        raise app.UsageError(f"--{flag.name} needs --suite or --sets beside it")
    shared: Any = {
      "cache_dir": _cache_dir() if flags.CACHE_DIR.present else "",
      "asked": _measures(),
      "protocol": _PROTOCOL.value,
      "as_json": flags.JSON.value,
    }
    if flags.INTERPOLATE.value:
      from inference.interpolating import curve

      return curve.run(
        path, flags.alphas(), flags.config(), flags.out(), **shared
      )
    return evaluate.run(
      path,
      flags.config(),
      flags.out(),
      named_as_run=bool(flags.WORKDIR.value),
      **shared,
    )
  from inference.evaluation import evaluate_sets

  if flags.INTERPOLATE.value:
    raise app.UsageError(
      "--interpolate takes the sets of a config, not --suite and --sets"
    )
  if flags.CONFIG.value is not None:
    raise app.UsageError(
      "--config has sets of its own: give either it, or --suite and --sets"
    )
  out = flags.out()
  if not out and flags.WORKDIR.value:
    out = str(flags.workdir() / "evaluation")
  return evaluate_sets.run(
    path,
    suite=_SUITE.value,
    names=_SETS.value,
    data_root=_DATA_ROOT.value,
    out=out,
    cache_dir=_cache_dir(),
    batch_size=flags.BATCH_SIZE.value,
    num_threads=_NUM_THREADS.value,
    asked=_measures(),
    protocol=_PROTOCOL.value,
    as_json=flags.JSON.value,
  )


def _probe(path: str) -> int:
  """Run the probes of --dense."""
  from inference.evaluation import dense

  used = (flags.WORKDIR, flags.INIT_FROM, flags.OUT, flags.BATCH_SIZE)
  used = (*used, _NUM_THREADS, flags.JSON, _DENSE, _DENSE_PROBE)
  names = {holder.name for holder in (*used, *cluster_flags.FLAGS)}
  for flag in FLAGS:
    if flag.name not in names and flag.present:
      raise app.UsageError(f"--{flag.name} is not used with --dense")
  return dense.run(
    path,
    _DENSE.value,
    out=flags.out(),
    changes=dense.changes(_DENSE_PROBE.value),
    batch_size=flags.BATCH_SIZE.value,
    num_threads=_NUM_THREADS.value,
    as_json=flags.JSON.value,
  )


def _cache_dir() -> str:
  return flags.in_bucket("cache_dir", flags.CACHE_DIR.value)


def _measures() -> Any:
  """Return set_measures.Measures of the flags."""
  from inference.evaluation import set_measures

  shots = _SHOTS.value
  if shots is not None and not all(x.strip().isdecimal() for x in shots):
    raise app.UsageError(
      "--shots must be whole numbers separated by commas; got"
      f" {','.join(shots)}"
    )
  return set_measures.Measures(
    _MEASURES.value,
    _FEATURES.value,
    _FROST.value,
    shots=None if shots is None else tuple(int(x) for x in shots),
    num_episodes=_NUM_EPISODES.value,
  )
