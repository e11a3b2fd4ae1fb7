"""Progress of work that mostly ends in seconds, on one process or several."""

import io

from runtime import cluster, progress


def progress_line(label: str, total: int) -> progress.Progress:
  """Return a progress line that is shown from the tenth second on.

  One process of several shows it.
  """
  stream = None if cluster.is_first() else io.StringIO()
  return progress.Progress(label, total, stream=stream, delay=10.0)
