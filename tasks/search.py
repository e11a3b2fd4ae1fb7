"""Search a run's pictures by a text; draw the best as a contact sheet."""

from absl import flags as absl_flags

from tasks import flags

_QUERY = absl_flags.DEFINE_string("query", "", "Text to search for.")
FLAGS = (flags.WORKDIR, _QUERY, flags.JSON)


def run() -> int:
  """Run --task=search."""
  from inference import search

  return search.run(flags.workdir(), _QUERY.value, as_json=flags.JSON.value)
