"""--task=inspect-data: a page on what a run is going to train on."""

import json
import pathlib

from input_pipeline import pipeline
from input_pipeline.inspecting import inspection, inspection_page
from runtime import failures, progress, whole_files
from training import config as config_lib


def run(
  config: config_lib.Config,
  path: pathlib.Path,
  num_examples: int,
  *,
  as_json: bool = False,
) -> int:
  """Write the page, print where it is and what it comes to.

  Raises:
    RunError: `path` cannot be written.
    ValueError, OSError: the data cannot be used.
  """
  _check_path(path)
  opened = pipeline.open_sources(config.data)
  total = sum(
    len(inspection.checked_indices(len(records))) for records in opened.values()
  )
  with progress.Progress("Checking examples", total) as bar:
    surveys = inspection.survey(config.data, opened, bar.advance)
  shown, replaced = inspection.first_examples(
    config.data,
    batch_size=config.batch_size,
    seed=config.seed,
    count=num_examples,
    opened=opened,
  )
  page = inspection_page.render(
    config.data,
    surveys,
    shown,
    replaced,
    batch_size=config.batch_size,
    seed=config.seed,
  )
  whole_files.write(path, page.encode())
  figures = inspection_page.figures(config.data, surveys)
  if as_json:
    print(json.dumps({"page": str(path), **figures}))
  else:
    print(f"{path}\n{inspection_page.summary(figures)}")
  return 0


def _check_path(path: pathlib.Path) -> None:
  if path.is_dir():
    raise failures.RunError(
      "--out must be a file for --task=inspect-data, as"
      f" {path / 'inspect-data.html'}; got the folder {path}"
    )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise failures.RunError(
      f"--out: the folder {path.parent} cannot be made ({error.strerror});"
      " give another file"
    ) from error
