"""Server of the page and the JSON interface: opened, loaded, ended."""

import dataclasses
import logging
import os
import pathlib
import socket
import sys
import threading
import time
from typing import Any

import uvicorn

from inference import python_model
from inference.indexing import index_folder
from inference.searching import galleries, search
from inference.serving import app as app_lib
from inference.serving import gate, service
from runtime import checks, compilation_cache, stopping
from runtime.storage import bucket_path

LOOPBACK = "127.0.0.1"
TOKEN_VARIABLE = "DIPTYCH_TOKEN"
# Characters of a token that cannot be guessed.
_LEAST_TOKEN = 16
_MOST_PORT = 65_535
# Connections, those that wait for a request too.
_MOST_CONNECTIONS = 256
# Seconds that requests have left after SIGTERM or Ctrl-C.
_GRACE_SECONDS = 3


@dataclasses.dataclass(frozen=True)
class Source:
  """Model and gallery that flags name.

  Attributes:
    path: run or published model, as `model.load` takes it; "" for the model of
      the index.
    index: opened index; None for none.
    is_run: whether `path` is a run whose own data are searched.
  """

  path: str
  index: index_folder.Index | None
  is_run: bool

  def load(self, told: service.Told) -> service.Service:
    """Load what is served; told of each stage."""
    about: dict[str, Any] = {"kind": None}
    gallery: galleries.Gallery | None = None
    if self.index is not None:
      told("Loading the model of the index")
      model, gallery = search.of_index(self.path, self.index)
      about = {
        "kind": "index",
        "name": str(self.index.folder),
        "num_removed": self.index.manifest.num_removed,
        "has_thumbnails": any(x is not None for x in self.index.thumbnails),
      }
    elif self.is_run:
      told("Loading the run, and embedding its data")
      folder = bucket_path.make(self.path)
      compilation_cache.enable(folder)
      model, gallery = search.of_run(folder)
      about = {"kind": "run", "name": self.path, "has_thumbnails": True}
    else:
      told("Loading the model")
      model = python_model.Model.load(self.path)
    made = service.Service(model, gallery, about)
    made.warm(told, is_all=False)
    return made


def run(
  path: str,
  *,
  index: str,
  is_run: bool,
  host: str,
  port: int,
  token_file: str,
  limits: gate.Limits = gate.Limits(),
) -> int:
  """Serve until SIGTERM or Ctrl-C.

  Args:
    path: model as `model.load` takes it; "" for that of the index.
    index: folder of an index; "" for none.
    is_run: whether the data of the run at `path` are searched.
    host: address to listen on; "" for loopback.
    port: port; 0 for a free one.
    token_file: file that holds the token; "" for the variable of the
      environment, or none.
    limits: limits of requests.

  Raises:
    ValueError, OSError: a flag is wrong; the message names it.
  """
  checks.between("--port", port, 0, _MOST_PORT)
  token = read_token(token_file)
  if host and not _is_loopback(host) and not token:
    raise ValueError(
      f"--host={host} lets other machines in, and needs a token that they must"
      f" bring: --token_file=FILE, or {TOKEN_VARIABLE} in the environment"
    )
  opened = index_folder.read(index) if index else None
  source = Source(path, opened, is_run)
  listening = _listening(host or LOOPBACK, port)
  state = app_lib.State()
  app = app_lib.make_app(
    *(state, limits),
    token=token,
    hosts=_names(host),
    is_open=bool(host) and not _is_loopback(host),
  )
  for name in ("uvicorn.error", "asyncio"):
    # Each malformed request would be a line.
    logging.getLogger(name).setLevel(logging.ERROR)
  server = uvicorn.Server(
    uvicorn.Config(
      app,
      http="h11",
      loop="asyncio",
      ws="none",
      lifespan="off",
      log_config=None,
      access_log=False,
      server_header=False,
      proxy_headers=False,
      limit_concurrency=_MOST_CONNECTIONS,
      timeout_graceful_shutdown=_GRACE_SECONDS,
    )
  )
  failures: list[BaseException] = []

  def load() -> None:
    start = time.monotonic()

    def told(stage: str) -> None:
      state.stage = stage
      if not server.should_exit:
        _say(f"{time.monotonic() - start:5.1f} s  {stage}")

    try:
      state.service = source.load(told)
      told("Ready")
      state.service.warm(told, is_all=True)
      told("Ready, and all is compiled")
    except BaseException as error:
      failures.append(error)
      server.should_exit = True

  address = listening.getsockname()
  shown = f"[{address[0]}]" if ":" in address[0] else address[0]
  _say(f"Serving http://{shown}:{address[1]}/ (Ctrl-C ends it)")
  threading.Thread(target=load, name="load", daemon=True).start()
  try:
    server.run(sockets=[listening])
  except stopping.Stopped:
    _say("Ended")
    # Python's own end would wait for threads that compile.
    stopping.end(0)
  if failures:
    raise failures[0]
  return 0


def read_token(file: str) -> str:
  """Return the token of a file, else of the environment; "" for none.

  Raises:
    ValueError: it is too short, or holds what no header can.
  """
  if file:
    path = pathlib.Path(file).expanduser()
    if not path.is_file():
      raise ValueError(f"--token_file={file} is no file")
    token, name = path.read_text("utf-8").strip(), f"--token_file={file}"
  else:
    token, name = os.environ.get(TOKEN_VARIABLE, ""), TOKEN_VARIABLE
    if not token:
      return ""
  is_plain = token.isascii() and token.isprintable() and " " not in token
  if len(token) < _LEAST_TOKEN or not is_plain:
    raise ValueError(
      f"{name} must hold a token of at least {_LEAST_TOKEN} ASCII characters"
      " without spaces; make one by: python -c"
      ' "import secrets; print(secrets.token_urlsafe())"'
    )
  return token


def _is_loopback(host: str) -> bool:
  return host in gate.LOCAL


def _names(host: str) -> set[str]:
  """Return names of this machine that a Host header may have."""
  if not host or _is_loopback(host):
    return set()
  names = {host, socket.gethostname(), socket.getfqdn()}
  return {name.lower() for name in names}


def _listening(host: str, port: int) -> socket.socket:
  """Return a socket that listens; ValueError that names --host or --port."""
  try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
  except socket.gaierror as error:
    raise ValueError(f"--host={host} is no address: {error}") from error
  family, _, _, _, address = found[0]
  try:
    made = socket.create_server(address[:2], family=family, backlog=1024)
  except OSError as error:
    raise ValueError(
      f"--port={port} cannot be listened on at {host} ({error.strerror}):"
      " choose another, or 0 for a free one"
    ) from error
  # Connections have it from here: asyncio sets it only where it made the
  # socket. Without, an answer waits 40 ms for the client to confirm its head.
  made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  return made


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
