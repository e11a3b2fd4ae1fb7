"""Gate before all requests: who may ask, how often, and how much.

A page of another origin, or one whose name was bound to this machine's address
(DNS rebinding), is refused by Origin and Host. Rate, requests at once and bytes
are limited before a body is read or a picture decoded.
"""

import asyncio
import collections
import contextlib
import dataclasses
import hmac
import ipaddress
import math
import time
import urllib.parse
from collections.abc import Collection
from typing import Any

from starlette import types

from inference.serving import answers, fields

# Addresses whose rates are kept; the oldest are forgotten.
_MOST_ADDRESSES = 1_024
LOCAL = ("localhost", "127.0.0.1", "::1")
API = "/v1/"


@dataclasses.dataclass(frozen=True)
class Limits:
  """Limits of requests.

  Attributes:
    num_bytes: size of a body.
    num_at_once: requests with a body that are answered at once, from all
      addresses.
    per_second: requests of one address in the long run.
    burst: requests of one address at once.
    body_seconds: time in which a body must have come.
  """

  num_bytes: int = 16 << 20
  num_at_once: int = 32
  per_second: float = 1_000.0
  burst: int = 2_000
  body_seconds: float = 20.0


class Gate:
  """ASGI application that lets requests pass to another, or refuses them."""

  def __init__(
    self,
    app: types.ASGIApp,
    *,
    limits: Limits,
    token: str = "",
    hosts: Collection[str] = (),
    is_open: bool = False,
  ):
    """Make a gate.

    Args:
      app: application behind it.
      limits: limits of requests.
      token: secret that requests to the API must bring; "" for none.
      hosts: names of this machine in lower case, beside those of loopback.
      is_open: whether the Host may be any address in numbers, as no name can
        be bound to those.
    """
    self._app = app
    self._limits = limits
    self._token = token.encode()
    self._hosts = {*LOCAL, *hosts}
    self._is_open = is_open
    self._num_running = 0
    self._rates: collections.OrderedDict[str, tuple[float, float]] = (
      collections.OrderedDict()
    )

  async def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> None:
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
    if scope["type"] != "http":
      return
    try:
      headers = _headers(scope)
      self._check_source(scope, headers)
      self._check_rate(scope)
      self._check_token(scope, headers)
      self._check_size(headers)
    except fields.RequestError as error:
      if error.status == 413:
        # A client that still sends would not read the answer.
        await _drain(receive, self._limits)
      await answers.refusal(error, closes=True)(scope, receive, send)
      return
    if scope["method"] != "POST":
      await self._app(scope, receive, send)
      return
    if self._num_running >= self._limits.num_at_once:
      error = fields.RequestError(
        429,
        f"{self._num_running} requests are being answered; try again",
        retry_after=1,
      )
      await answers.refusal(error, closes=True)(scope, receive, send)
      return
    self._num_running += 1
    try:
      await self._app(scope, _limited(receive, self._limits), send)
    finally:
      self._num_running -= 1

  def _check_source(self, scope: types.Scope, headers: dict[str, Any]) -> None:
    """Refuse other names of this machine, and pages of other origins."""
    hosts = headers.get("host", [])
    name = _name_of(hosts[0]) if len(hosts) == 1 else ""
    if name not in self._hosts and not (self._is_open and _is_address(name)):
      raise fields.RequestError(
        403, "the Host header does not name this machine"
      )
    origins = headers.get("origin", [])
    if any(_netloc(origin) != hosts[0].lower() for origin in origins):
      raise fields.RequestError(403, "the request comes from another page")
    sites = headers.get("sec-fetch-site", ["same-origin"])
    is_ours = all(site in ("same-origin", "none") for site in sites)
    if scope["path"].startswith(API) and not is_ours:
      raise fields.RequestError(403, "the request comes from another page")

  def _check_token(self, scope: types.Scope, headers: dict[str, Any]) -> None:
    if not self._token or not scope["path"].startswith(API):
      return
    given = headers.get("authorization", [""])[0].removeprefix("Bearer ")
    # Bytes: compare_digest takes only ASCII of texts.
    if not hmac.compare_digest(given.encode("latin-1"), self._token):
      raise fields.RequestError(
        401,
        "the token is missing or wrong: send it as the header Authorization:"
        " Bearer TOKEN",
        field="token",
      )

  def _check_rate(self, scope: types.Scope) -> None:
    """Take one from the requests that an address may still make."""
    address = (scope.get("client") or ("",))[0]
    now = time.monotonic()
    left, before = self._rates.pop(address, (self._limits.burst, now))
    per_second = self._limits.per_second
    left = min(left + (now - before) * per_second, self._limits.burst)
    self._rates[address] = (left - 1 if left >= 1 else left), now
    if len(self._rates) > _MOST_ADDRESSES:
      self._rates.popitem(last=False)
    if left < 1:
      raise fields.RequestError(
        429,
        f"more than {per_second:g} requests a second",
        retry_after=math.ceil((1 - left) / per_second),
      )

  def _check_size(self, headers: dict[str, Any]) -> None:
    given = headers.get("content-length", ["0"])[0]
    # The server has refused what is no number.
    if given.isdecimal() and int(given[:20]) > self._limits.num_bytes:
      raise _too_large(self._limits)


def _limited(receive: types.Receive, limits: Limits) -> types.Receive:
  """Return `receive` that raises RequestError for a large or slow body."""
  end = time.monotonic() + limits.body_seconds
  num_bytes, is_whole = 0, False

  async def limited() -> types.Message:
    nonlocal num_bytes, is_whole
    if is_whole:  # the end of the connection is waited for
      return await receive()
    try:
      seconds = end - time.monotonic()
      message = await asyncio.wait_for(receive(), max(seconds, 0.001))
    except TimeoutError as error:
      raise fields.RequestError(
        408, f"the body took over {limits.body_seconds:g} s to come"
      ) from error
    num_bytes += len(message.get("body", b""))
    is_whole = not message.get("more_body", False)
    if num_bytes > limits.num_bytes:
      raise _too_large(limits)
    return message

  return limited


def _too_large(limits: Limits) -> fields.RequestError:
  most = limits.num_bytes / (1 << 20)
  return fields.RequestError(
    413, f"the request is too large: at most {most:g} MiB are taken"
  )


async def _drain(receive: types.Receive, limits: Limits) -> None:
  """Read and forget a body of at most four times the largest one."""
  more = dataclasses.replace(limits, num_bytes=4 * limits.num_bytes)
  limited = _limited(receive, more)
  with contextlib.suppress(fields.RequestError):
    while (await limited()).get("more_body", False):
      pass


def _headers(scope: types.Scope) -> dict[str, list[str]]:
  """Return the values of each header, by its name in lower case."""
  headers: dict[str, list[str]] = {}
  for name, value in scope["headers"]:
    headers.setdefault(name.decode("latin-1").lower(), []).append(
      value.decode("latin-1")
    )
  return headers


def _name_of(host: str) -> str:
  """Return the name of a Host header without its port; "" for none."""
  try:
    split = urllib.parse.urlsplit(f"//{host}")
    _ = split.port  # ValueError for one that is no number
  except ValueError:
    return ""
  is_plain = split.netloc == host and "@" not in host
  return split.hostname or "" if is_plain else ""


def _netloc(origin: str) -> str:
  """Return name and port of an Origin header; "" for "null"."""
  scheme, _, rest = origin.partition("://")
  return rest.lower() if scheme in ("http", "https") else ""


def _is_address(name: str) -> bool:
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True
