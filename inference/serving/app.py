"""Web application: the page's files, and the JSON interface."""

import asyncio
import dataclasses
import functools
import pathlib
import types
from collections.abc import Collection, Mapping
from concurrent import futures
from typing import Any

from absl import logging
from starlette import (
  applications,
  exceptions,
  formparsers,
  requests,
  responses,
  routing,
)

from inference.serving import answers, fields, gate, openapi
from inference.serving import service as service_lib
from runtime import pages

_HERE = pathlib.Path(__file__).parent / "page"
_SHARED = pathlib.Path(pages.__file__).parent / "page.css"
# The only files that are ever sent; they are read once, at the start.
_FILES: Mapping[str, tuple[pathlib.Path, str]] = types.MappingProxyType(
  {
    "/": (_HERE / "index.html", "text/html"),
    "/serve.css": (_HERE / "serve.css", "text/css"),
    "/serve.js": (_HERE / "serve.js", "text/javascript"),
    "/icon.svg": (_HERE / "icon.svg", "image/svg+xml"),
    "/page.css": (_SHARED, "text/css"),
  }
)
_FORM, _JSON = "multipart/form-data", "application/json"


@dataclasses.dataclass
class State:
  """State of the server, which its start changes.

  Attributes:
    stage: sentence about what is being loaded.
    service: model and gallery; None until they are loaded.
  """

  stage: str = "Starting"
  service: service_lib.Service | None = None

  def ready(self) -> service_lib.Service:
    """Return the service; RequestError while it is not loaded."""
    if self.service is None:
      raise fields.RequestError(
        503, f"the model is not loaded yet: {self.stage}", retry_after=2
      )
    return self.service


class _Form(formparsers.MultiPartParser):
  """Parser of forms that writes no file: bodies are small enough for memory."""

  spool_max_size = 1 << 62


def make_app(
  state: State,
  limits: gate.Limits,
  *,
  token: str = "",
  hosts: Collection[str] = (),
  is_open: bool = False,
) -> gate.Gate:
  """Return the application behind its gate.

  Args:
    state: of the server.
    limits: of requests.
    token, hosts, is_open: as gate.Gate takes them.
  """
  pool = futures.ThreadPoolExecutor(limits.num_at_once, "request")
  app = applications.Starlette(
    routes=[
      *(_file_route(path, *file) for path, file in _FILES.items()),
      routing.Route("/openapi.json", _described(limits)),
      routing.Route("/v1/info", functools.partial(_info, state, limits)),
      *(
        routing.Route(
          f"/v1/{name}",
          functools.partial(_answer, state, pool, limits, name),
          methods=["POST"],
        )
        for name in openapi.FIELDS
      ),
    ],
    exception_handlers={
      fields.RequestError: _refused,
      exceptions.HTTPException: _refused_by_starlette,
      requests.ClientDisconnect: _gone,
    },
  )
  # A redirect would be an answer to a path that is not there.
  app.router.redirect_slashes = False
  return gate.Gate(
    app, limits=limits, token=token, hosts=hosts, is_open=is_open
  )


def _file_route(
  path: str, file: pathlib.Path, media_type: str
) -> routing.Route:
  content = file.read_bytes()

  async def sent(request: requests.Request) -> responses.Response:
    del request
    return answers.file(content, media_type)

  return routing.Route(path, sent)


def _described(limits: gate.Limits) -> Any:
  async def described(request: requests.Request) -> responses.Response:
    del request
    return answers.of_json(openapi.description(limits.num_bytes))

  return described


async def _info(
  state: State, limits: gate.Limits, request: requests.Request
) -> responses.Response:
  del request
  values: dict[str, Any] = {
    "is_ready": state.service is not None,
    "stage": state.stage,
    "limits": dataclasses.asdict(limits),
  }
  if state.service is not None:
    values |= state.service.info()
  return answers.of_json(values)


async def _answer(
  state: State,
  pool: futures.Executor,
  limits: gate.Limits,
  name: str,
  request: requests.Request,
) -> responses.Response:
  """Answer a request by the service's method of that name, in a thread."""
  service = state.ready()
  table = openapi.fields_of(name, service.methods)
  kind = _content_type(request).partition(";")[0].strip()
  body: bytes | list[tuple[str, str | bytes]]
  if kind.lower() == _FORM:
    body = await _form(request, limits)
  elif kind.lower() == _JSON:
    body = await request.body()
  else:
    raise fields.RequestError(
      415, f"the body must be {_JSON} or {_FORM}; got {kind or 'no type'}"
    )

  def answered() -> responses.Response:
    raw = (
      fields.of_json(body)
      if isinstance(body, bytes)
      else fields.of_form(table, body)
    )
    values = fields.read(table, raw)
    return answers.of_json(getattr(service, name)(**values))

  try:
    return await asyncio.get_running_loop().run_in_executor(pool, answered)
  except fields.RequestError:
    raise
  except Exception:
    logging.exception("A request to /v1/%s failed", name)
    return answers.of_json(
      {
        "error": {"message": "the server failed; its log says why", "field": ""}
      },
      500,
    )


def _content_type(request: requests.Request) -> str:
  """Return the header; request.headers decodes all of them for one."""
  for name, value in request.scope["headers"]:
    if name == b"content-type":
      return value.decode("latin-1")
  return ""


async def _form(
  request: requests.Request, limits: gate.Limits
) -> list[tuple[str, str | bytes]]:
  """Return the parts of a form, in order; files as bytes."""
  most = max(x.max_items for x in fields.EMBED.values())
  parser = _Form(
    request.headers,
    request.stream(),
    max_files=most,
    max_fields=1_000 + most,
    max_part_size=limits.num_bytes,
  )
  try:
    form = await parser.parse()
  except formparsers.MultiPartException as error:
    raise fields.RequestError(400, f"the form is wrong: {error}") from error
  items: list[tuple[str, str | bytes]] = []
  for name, value in form.multi_items():
    is_text = isinstance(value, str)
    items.append((name, value if is_text else await value.read()))
  await form.close()
  return items


async def _refused(
  request: requests.Request, error: Exception
) -> responses.Response:
  del request
  assert isinstance(error, fields.RequestError)
  return answers.refusal(error, closes=error.status in (408, 413))


async def _refused_by_starlette(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answer a request for what is not there, or by a wrong method."""
  assert isinstance(error, exceptions.HTTPException)
  refused = answers.refusal(
    fields.RequestError(
      error.status_code, f"{request.method} {request.url.path}: {error.detail}"
    )
  )
  refused.headers.update(error.headers or {})
  return refused


async def _gone(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answer nobody: the client has closed the connection."""
  del request, error
  return responses.Response(status_code=400, headers=answers.HEADERS)
