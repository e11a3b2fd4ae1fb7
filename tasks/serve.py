"""Serve a page in the browser, and a JSON interface, on this machine."""

from absl import app
from absl import flags as absl_flags

from tasks import flags

_HOST = absl_flags.DEFINE_string(
  "host",
  "",
  "Address to listen on; by default this machine alone (loopback). Any other"
  " needs a token.",
)
_PORT = absl_flags.DEFINE_integer(
  "port", 8000, "Port of the page; 0 takes a free one."
)
_TOKEN_FILE = absl_flags.DEFINE_string(
  "token_file",
  "",
  "File with the token that requests must bring; without it, that of the"
  " environment's DIPTYCH_TOKEN. The page asks for it.",
)
FLAGS = (
  *(flags.WORKDIR, flags.INIT_FROM, flags.INDEX),
  *(_HOST, _PORT, _TOKEN_FILE),
)


def run() -> int:
  """Run --task=serve."""
  index = flags.INDEX.value or ""
  has_model = flags.INIT_FROM.value or flags.WORKDIR.value
  if not index and not has_model:
    raise app.UsageError(
      "give what to serve: --workdir=RUN, --index=FOLDER, or --init_from=MODEL"
      " for a page without search"
    )
  path = flags.model() if has_model else ""
  from inference.serving import server

  return server.run(
    path,
    index=index,
    is_run=not index and bool(flags.WORKDIR.value),
    host=_HOST.value,
    port=_PORT.value,
    token_file=_TOKEN_FILE.value,
  )
