"""Gate of the server: hostile requests, limits, and the token."""

import asyncio
import json
import sys
import tempfile

import pytest
from starlette import responses

from inference.serving import gate
from tests.inference.serving import hostile

REQUESTS = [*hostile.requests()]
GET = hostile.Request("get", (200,), "GET", "/v1/info", (hostile.HOST,), ())
_opened: list[str] | None = None


def _note(event, args):
  if event == "open" and _opened is not None:
    _opened.append(str(args[0]))


@pytest.fixture(scope="module")
def audited():
  """Note the files that are opened while `_opened` is a list."""
  sys.addaudithook(_note)


async def _ok(scope, receive, send):
  while (await receive()).get("more_body"):
    pass
  await responses.Response("ok")(scope, receive, send)


def test_the_generator_is_large_enough():
  assert len({request.name for request in REQUESTS}) == len(REQUESTS) >= 200


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda x: x.name)
def test_a_hostile_request_is_refused(
  gated, audited, tmp_path, monkeypatch, request_
):
  global _opened
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  _opened = []
  try:
    answer = hostile.send(gated, request_)
  finally:
    opened, _opened = _opened, None
  assert answer.code in request_.codes, answer.body
  assert 400 <= answer.code < 500
  if answer.body:
    assert answer.error["message"]
    assert len(answer.body) < 10_000
  assert "content-security-policy" in answer.headers
  # Neither the request nor its files reach the disk.
  assert not [*tmp_path.iterdir()]
  if request_.name.startswith("path-"):
    assert not opened


def test_good_requests_pass():
  made = gate.Gate(_ok, limits=gate.Limits())
  for headers in (
    (("host", "localhost"),),
    (("host", "LOCALHOST:99"),),
    (("host", "[::1]:8000"),),
    (hostile.HOST, ("origin", "http://127.0.0.1:8000")),
    (hostile.HOST, ("sec-fetch-site", "none")),
    (hostile.HOST, ("sec-fetch-site", "same-origin")),
  ):
    request = hostile.Request("", (200,), "GET", "/v1/info", headers, ())
    assert hostile.send(made, request).code == 200


def test_other_names_of_the_machine():
  made = gate.Gate(_ok, limits=gate.Limits(), hosts=["box"], is_open=True)
  for host, code in {
    "box:8000": 200,
    "10.0.0.7:8000": 200,
    "[fe80::1]": 200,
    "evil.com": 403,
    "box.evil.com": 403,
  }.items():
    request = hostile.Request("", (), "GET", "/", (("host", host),), ())
    assert hostile.send(made, request).code == code


def test_the_token():
  made = gate.Gate(_ok, limits=gate.Limits(), token="s3cret-s3cret-s3cret")
  page = hostile.Request("", (), "GET", "/", (hostile.HOST,), ())
  assert hostile.send(made, page).code == 200
  answer = hostile.send(made, GET)
  assert (answer.code, answer.error["field"]) == (401, "token")
  assert answer.headers["www-authenticate"] == "Bearer"
  for value, code in {
    "Bearer s3cret-s3cret-s3cret": 200,
    "Bearer s3cret": 401,
    "Bearer ": 401,
    "Basic s3cret-s3cret-s3cret": 401,
    "Bearer \xe9": 401,
  }.items():
    headers = (hostile.HOST, ("authorization", value))
    request = hostile.Request("", (), "GET", "/v1/info", headers, ())
    assert hostile.send(made, request).code == code


def test_rate(monkeypatch):
  now = 100.0
  monkeypatch.setattr(gate.time, "monotonic", lambda: now)
  limits = gate.Limits(per_second=0.5, burst=3)
  made = gate.Gate(_ok, limits=limits)
  codes = [hostile.send(made, GET).code for _ in range(4)]
  assert codes == [200, 200, 200, 429]
  assert hostile.send(made, GET).headers["retry-after"] == "2"
  now += 2
  assert [hostile.send(made, GET).code for _ in range(2)] == [200, 429]


def test_requests_at_once():
  """The first is still being answered when the second comes."""
  limits = gate.Limits(num_at_once=1)
  waiting = hostile.Request("", (), body=(b"{", hostile.SLOW))
  made = gate.Gate(_ok, limits=limits)

  async def both():
    loop = asyncio.get_running_loop()
    # In threads, as each runs a loop of its own.
    slow = gate.dataclasses.replace(limits, body_seconds=0.2)
    made._limits = slow
    first = loop.run_in_executor(None, _caught, made, waiting)
    while not made._num_running:
      await asyncio.sleep(0.001)
    second = await asyncio.to_thread(
      hostile.send, made, hostile.Request("", ())
    )
    await first
    return second

  answer = asyncio.run(both())
  assert answer.code == 429
  assert answer.headers["retry-after"] == "1"
  assert hostile.send(made, hostile.Request("", ())).code == 200


def _caught(app, request):
  with pytest.raises(gate.fields.RequestError, match="the body took over"):
    hostile.send(app, request)


def test_a_large_body_is_read_to_its_end_but_not_kept():
  """A client that still sends reads no answer."""
  made = gate.Gate(_ok, limits=gate.Limits(num_bytes=10))
  taken = []

  def parts():
    for n in range(9):
      taken.append(n)
      yield b"abcd"

  headers = (hostile.HOST, ("content-length", "36"))
  body = tuple(parts())
  request = hostile.Request("", (), headers=headers, body=body)
  assert hostile.send(made, request).code == 413
  assert json.loads(hostile.send(made, request).body)["error"]["message"] == (
    "the request is too large: at most 9.53674e-06 MiB are taken"
  )
