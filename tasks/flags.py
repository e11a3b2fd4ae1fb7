"""Flags that several tasks share, and their values checked."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags
from ml_collections import config_flags

CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "Config file, as configs/quickstart.py or configs/clip.py:vit_b32. Its fields"
  " are changed by --config.FIELD=VALUE.",
  lock_config=True,
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; gs://BUCKET/PATH, s3://BUCKET/PATH too."
)
OUT = flags.DEFINE_string(
  "out",
  "",
  "Folder to write, new or empty; for --task=inspect-data, HTML file to write;"
  " for --task=classify and caption, a new .csv, .jsonl or .parquet.",
)
INTERPOLATE = flags.DEFINE_list(
  "interpolate",
  [],
  "Numbers of 0 (the weights that the run began with) to 1 (the run): evaluates"
  " the models between them, as 0,0.25,0.5,0.75,1, and draws the curve; of one"
  " number, exports the model.",
)
JSON = flags.DEFINE_bool("json", False, "JSON on stdout instead of a table.")
INIT_FROM = flags.DEFINE_string(
  "init_from",
  "",
  "Model to use: a published model's folder or file of weights,"
  " hf://owner/name, or a run's workdir. Behind weights without a config, the"
  " fields that they do not show: FILE#activation=quick_gelu,image_heads=12.",
)
NUM_WORKERS = flags.DEFINE_integer(
  "num_workers",
  None,
  "Worker processes; 0 works in this process. Default: one for each processor.",
)
NUM_RESULTS = flags.DEFINE_integer(
  "num_results",
  None,
  "Results of a search, at most (12 by default), or labels of a picture that"
  " --task=classify lists (5).",
)
BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 32, "Rows computed at a time, at most."
)
IMAGES = flags.DEFINE_string(
  "images",
  "",
  "Images: a folder or a quoted pattern, in the order of the files' paths. For"
  " --task=explain several of these, separated by commas; for others also tars,"
  " Parquet files, and tables (.csv, .jsonl) of images, local or at a URL.",
)
RECURSIVE = flags.DEFINE_bool(
  "recursive", False, "Read the folders below a folder of --images too."
)
COLUMNS = flags.DEFINE_string(
  "columns",
  "",
  "Columns of a table or of Parquet files, or fields of tars (txt, json.url),"
  " that go along into the table, separated by commas.",
)
DTYPE = flags.DEFINE_string(
  "dtype",
  "",
  "Numbers of shards of embeddings, or of a new index: float16 (the default) or"
  " float32.",
)
CACHE_DIR = flags.DEFINE_string(
  "cache_dir",
  "cache",
  "Folder of indices of tars and tables, and of embeddings of evaluations; in a"
  " bucket, indices are kept in ./cache. --task=evaluate without --suite and"
  " --sets takes data.cache_dir unless this is given.",
)
TEXTS = flags.DEFINE_string(
  "texts",
  "",
  "Texts: a file with one text a line; for --task=explain also the texts"
  ' themselves, separated by commas, as "a cat,a dog".',
)
# One flag for two tasks, as absl has one flag of a name.
INDEX = flags.DEFINE_string(
  "index",
  None,
  "For --task=search and serve, the folder of an index; for --task=sweep, the"
  " number of the only trial to run, from 0 on, as that of a Slurm array.",
)
ENGINE = flags.DEFINE_string(
  "engine", "processes", "Place of the work: inline, processes or ray."
)
FIGURE = flags.DEFINE_string(
  "figure",
  "",
  "Figure that ranks runs, as train/loss (the default of --task=sweep) or"
  " holdout/image_to_text/R@1.",
)
DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Show what would be run, and run nothing."
)

# Beginnings of paths in a bucket; runtime/storage reads them.
_BUCKETS = ("gs://", "s3://")
_SETS = (
  "is gone: --config.evaluate.sets={} evaluates nothing, and a config file"
  " names its sets as configs/evaluate/emoji.py does"
)
# Flags of earlier versions, and the end of the message that refuses them.
REMOVED = {
  "config.evaluate.retrieval": _SETS,
  "config.evaluate.zero_shot": _SETS,
}


def parse_config(words: Sequence[str]) -> Any:
  """Parse --config and flags of its fields alone; raises what absl raises.

  Returns:
    The fields of the config, a ConfigDict.
  """
  argv, values = ["main.py", *words], flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config", None, flag_values=values, lock_config=True, sys_argv=argv
  )
  values(argv)
  return values["config"].value


def check_config(value: Any) -> None:
  """Raise ValueError where a run's config, or a recipe, cannot be used."""
  if "steps" in value:
    from curation import recipe

    recipe.checked(value.to_dict())
  elif "optimizer" in value:
    from training import config as config_lib

    config_lib.checked(value.to_dict())


def config(*others: Callable[[Any], None]) -> Any:
  """Return the checked training.config.Config of --config, None without it.

  Args:
    others: further checks of it, whose problems are named with its own.
  """
  from training import config as config_lib

  value = CONFIG.value
  return None if value is None else config_lib.checked(value.to_dict(), *others)


def needed_values() -> dict[str, Any]:
  """Return the fields of --config, of any kind; UsageError without it."""
  if CONFIG.value is None:
    raise app.UsageError("--config is missing: --config=configs/NAME.py")
  return CONFIG.value.to_dict()


def needed_config(*others: Callable[[Any], None]) -> Any:
  """Return `config`; UsageError where --config is missing."""
  value = config(*others)
  if value is None:
    raise app.UsageError("--config is missing: --config=configs/quickstart.py")
  return value


def workdir() -> pathlib.Path:
  """Return --workdir; UsageError where it is missing."""
  if not WORKDIR.value:
    raise app.UsageError("--workdir is missing: --workdir=runs/NAME")
  return _checked("workdir", WORKDIR.value)


def out() -> str:
  """Return --out, "" where it is missing."""
  return in_bucket("out", OUT.value)


def in_bucket(flag: str, path: str) -> str:
  """Return a flag's path; raise where it is in a bucket that is not there."""
  if path.lower().startswith(_BUCKETS):
    _checked(flag, path)
  return path


def model() -> str:
  """Return --init_from or --workdir; UsageError unless one is given."""
  published, run = INIT_FROM.value, WORKDIR.value or ""
  if bool(published) == bool(run):
    raise app.UsageError(
      "give the model: --init_from=PATH of a published one, or --workdir=RUN"
      " of a run (one of both)"
    )
  in_bucket("workdir", run)
  in_bucket("init_from", published)
  return published or run


def _checked(flag: str, path: str) -> pathlib.Path:
  """Return the path of a flag's folder; raise where its bucket is not there."""
  from runtime.storage import bucket_path

  folder = bucket_path.make(path)
  bucket_path.check(folder, f"--{flag}={path}")
  return folder


def num_workers() -> int:
  """Return --num_workers, by default one for each processor."""
  workers = NUM_WORKERS.value
  return len(os.sched_getaffinity(0)) if workers is None else workers


def alphas() -> list[float]:
  """Return the numbers of --interpolate."""
  try:
    return [float(x) for x in INTERPOLATE.value]
  except ValueError as error:
    raise app.UsageError(
      "--interpolate must be numbers of 0 to 1; got"
      f" {','.join(INTERPOLATE.value)}"
    ) from error
