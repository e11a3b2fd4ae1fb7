"""End of a run of task_run.py, and checks that such runs share."""

import datetime
import pathlib
from collections.abc import Mapping

from evaluators import suite, summary
from runtime import checks, cluster
from runtime import mesh as mesh_lib
from runtime import stopping as stopping_lib
from runtime.storage import strict_json
from training import config as config_lib
from training import metrics
from training.run import starts, workdir


def check_batches(config: config_lib.Config) -> None:
  """Raise ValueError where the devices cannot share a batch."""
  mesh = mesh_lib.make_mesh(config.mesh)
  mesh_lib.check_batch_size(
    config.batch_size, mesh, {"num_microbatches": config.num_microbatches}
  )
  shards = mesh_lib.num_batch_shards(mesh)
  if config.evaluate.batch_size % shards:
    checks.refuse(
      f"evaluate.batch_size must be a multiple of {shards} devices; got"
      f" {config.evaluate.batch_size}"
    )


def say_complete(folder: pathlib.Path, as_json: bool) -> int:
  """Print the results of a complete run; return its exit code."""
  metrics.say(f"{folder} is complete; its last evaluation:")
  _print(cluster.on_first(lambda: workdir.read_results(folder)), as_json)
  return 0


def finish(
  folder: pathlib.Path,
  config: config_lib.Config,
  facts: Mapping[str, float],
  results: suite.Results,
  *,
  about: Mapping[str, str],
  as_json: bool,
) -> None:
  """Write results and report, and print the results, on the first process.

  Args:
    folder: folder of the run.
    config: config of the run.
    facts: figures of the compiled step.
    results: results of the run.
    about: first facts of the report.
    as_json: whether results are printed as JSON instead of a table.
  """
  from training.report import report

  if not cluster.is_first():
    return
  with stopping_lib.kept():  # the last checkpoint
    summary.write_results(folder / workdir.RESULTS, results)
    report.write(
      folder,
      title=folder.name,
      facts={
        **about,
        "steps": f"{config.total_steps:,}",
        "batch size": f"{config.batch_size:,}",
        "parameters": f"{facts['compile/num_parameters']:,}",
        "finished": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        **starts.facts(folder),
      },
      results=results,
    )
    _print(results, as_json)
    metrics.say(f"Report: {folder / workdir.REPORT}")


def _print(results: suite.Results, as_json: bool) -> None:
  if cluster.is_first():
    print(strict_json.dumps(results) if as_json else summary.table(results))
