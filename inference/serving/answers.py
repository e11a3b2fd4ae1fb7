"""Answers of the server, all with the headers that keep a page to itself."""

import types
from collections.abc import Mapping
from typing import Any

from starlette import responses

from inference.serving import fields
from runtime.storage import strict_json

HEADERS: Mapping[str, str] = types.MappingProxyType(
  {
    "Content-Security-Policy": (
      "default-src 'self'; img-src 'self' data: blob:; base-uri 'none';"
      " form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
  }
)


def file(content: bytes, media_type: str) -> responses.Response:
  """Return the answer that holds a file."""
  return responses.Response(content, media_type=media_type, headers=HEADERS)


def of_json(
  value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> responses.Response:
  """Return the answer that holds a value as JSON."""
  return responses.Response(
    # In ASCII: the name of a file need not be text in Unicode.
    strict_json.dumps(value).encode(),
    status_code=status,
    media_type="application/json",
    headers={**HEADERS, **(headers or {})},
  )


def refusal(
  error: fields.RequestError, *, closes: bool = False
) -> responses.Response:
  """Return the answer to a request that is refused.

  Args:
    error: reason.
    closes: whether the connection ends, as the body was not read.
  """
  headers = {}
  if error.retry_after:
    headers["Retry-After"] = str(error.retry_after)
  if error.status == 401:
    headers["WWW-Authenticate"] = "Bearer"
  if closes:
    headers["Connection"] = "close"
  said = {"message": str(error), "field": error.field}
  return of_json({"error": said}, error.status, headers)
