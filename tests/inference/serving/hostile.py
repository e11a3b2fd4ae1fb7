"""Requests of attackers, from one generator: each must be refused.

`requests` yields them; `send` hands one to an ASGI application as the server
does, and returns the answer.
"""

import asyncio
import base64
import dataclasses
import io
import itertools
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

HOST = ("host", "127.0.0.1:8000")
JSON = ("content-type", "application/json")
FORM = ("content-type", "multipart/form-data; boundary=B")
SLOW = object()  # a client that sends nothing more


@dataclasses.dataclass(frozen=True)
class Request:
  """Request that must be refused.

  Attributes:
    name: name of the test.
    codes: codes that the answer may have.
    body: parts as they come; SLOW among them.
  """

  name: str
  codes: tuple[int, ...]
  method: str = "POST"
  path: str = "/v1/search"
  headers: tuple[tuple[str, str], ...] = (HOST, JSON)
  body: tuple[Any, ...] = (b'{"query": "a cat"}',)


@dataclasses.dataclass(frozen=True)
class Answer:
  """Answer to a request."""

  code: int
  headers: dict[str, str]
  body: bytes

  @property
  def error(self) -> dict[str, str]:
    return json.loads(self.body)["error"]


def send(app: Any, request: Request) -> Answer:
  """Return the application's answer to a request."""
  messages = iter(request.body or (b"",))
  left = len(request.body or (b"",))
  sent: list[Any] = []

  async def receive():
    nonlocal left
    part = next(messages, None)
    if part is SLOW:
      await asyncio.sleep(3_600)
    if part is None:
      return {"type": "http.disconnect"}
    left -= 1
    return {"type": "http.request", "body": part, "more_body": left > 0}

  async def answer(message):
    sent.append(message)

  path = request.path.partition("?")[0]
  scope = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": request.method,
    "scheme": "http",
    "path": path,
    "raw_path": path.encode("latin-1", "replace"),
    "query_string": request.path.partition("?")[2].encode(),
    "root_path": "",
    "headers": [(k.encode(), v.encode("latin-1")) for k, v in request.headers],
    "client": ("127.0.0.1", 40_000),
    "server": ("127.0.0.1", 8_000),
  }
  asyncio.run(app(scope, receive, answer))
  start, *parts = sent
  return Answer(
    start["status"],
    {k.decode().lower(): v.decode() for k, v in start["headers"]},
    b"".join(part.get("body", b"") for part in parts),
  )


def requests() -> Iterator[Request]:
  """Yield all requests; their names differ."""
  yield from _sources()
  yield from _paths()
  yield from _kinds()
  yield from _texts()
  yield from _values()
  yield from _large()
  yield from _pictures()
  yield from _forms()


def _sources() -> Iterator[Request]:
  hosts = (
    *("evil.com", "127.0.0.1.evil.com", "localhost.evil.com:8000", "", " "),
    *("evil.com:80@127.0.0.1", "127.0.0.1@evil.com", "127.0.0.1:port", "[::1"),
    *("10.0.0.1", "0.0.0.0:8000", "localhost/evil.com", "local host", "\xff"),
  )
  for host in hosts:
    yield Request(f"host-{host!r}", (403,), headers=(("host", host), JSON))
  yield Request("host-none", (403,), headers=(JSON,))
  yield Request("host-two", (403,), headers=(HOST, HOST, JSON))
  yield Request(
    "host-of-the-page", (403,), "GET", "/", (("host", "evil.com"),), ()
  )
  origins = (
    *("http://evil.com", "null", "", "file://", "http://127.0.0.1:8001"),
    *("http://127.0.0.1", "http://127.0.0.1:8000.evil.com", "chrome://x"),
    *("http://localhost:8000", "http://127.0.0.1:8000/", "127.0.0.1:8000"),
  )
  for origin in origins:
    headers = (HOST, JSON, ("origin", origin))
    yield Request(f"origin-{origin!r}", (403,), headers=headers)
  for site in ("cross-site", "same-site", ""):
    headers = (HOST, JSON, ("sec-fetch-site", site))
    yield Request(f"site-{site!r}", (403,), headers=headers)


def _paths() -> Iterator[Request]:
  paths = (
    *("/../../etc/passwd", "//etc/passwd", "/etc/passwd", "/./.git/config"),
    *("/serve.js/../../server.py", "/..\\..\\server.py", "/page/index.html"),
    *(
      "/serve.css\0.html",
      "/%2e%2e/%2e%2e/etc/passwd",
      "/index.json",
      "/~root",
    ),
    *("/v1/../index.json", "/v1/thumbnails/0", "/v1/", "/v1", "/V1/INFO"),
    *("/img_emb/img_emb_0.npy", "/page.css/", "/\xff\xfe", "/" + "a" * 5_000),
    *("/file:///etc/passwd", "/http://evil.com/", "/icon.svg/..", "/serve.py"),
  )
  for path in paths:
    yield Request(f"path-{path[:40]!r}", (404,), "GET", path, (HOST,), ())


def _kinds() -> Iterator[Request]:
  for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X" * 99):
    yield Request(f"method-{method[:9]}", (405,), method)
  for method in ("POST", "PUT", "DELETE"):
    for path in ("/", "/v1/info", "/openapi.json"):
      yield Request(f"method-{method}-{path}", (405,), method, path)
  kinds = (
    *("", "text/plain", "text/xml", "application/x-www-form-urlencoded"),
    *("application/jsonp", "multipart/mixed; boundary=B", "image/png", "\xff"),
  )
  for kind in kinds:
    headers = (HOST, ("content-type", kind))
    yield Request(f"kind-{kind!r}", (415,), headers=headers)


def _texts() -> Iterator[Request]:
  bodies = {
    "empty": b"",
    "open": b"[",
    "null": b"null",
    "list": b"[]",
    "text": b'"query"',
    "number": b"1",
    "deep-list": b"[" * 100_000,
    "deep-object": b'{"query":' * 20_000,
    "nan": b'{"query": "a", "fold": NaN}',
    "infinity": b'{"query": "a", "query_weight": Infinity}',
    "exponent": b'{"query": "a", "query_weight": 1e999}',
    "digits": b'{"query": "a", "num_results": ' + b"9" * 5_000 + b"}",
    "not-utf8": b'{"query": "\xff\xfe"}',
    "utf16": '{"query": "a"'.encode("utf-16"),
    "surrogate": b'{"query": "\\ud800"}',
    "unknown": b'{"query": "a", "path": "/etc/passwd"}',
    "proto": b'{"query": "a", "__proto__": {}}',
    "self": b'{"query": "a", "self": 1}',
    "long-name": b'{"' + b"a" * 50_000 + b'": 1}',
    "nothing": b"{}",
    "rest": b'{"query": "a"} {"query": "b"}',
    "form": b"query=a",
  }
  for name, body in bodies.items():
    yield Request(f"json-{name}", (400,), body=(body,))


def _values() -> Iterator[Request]:
  wrong: dict[str, list[Any]] = {
    "query": [1, [], {}, True, ["a"], " ", "\n", "a" * 3_000],
    "num_results": [0, -1, 201, 1.5, "x", "", [], True, {}, 10**30],
    "fold": [-0.1, 1.1, "high", [0.5], True, {}],
    "query_weight": [0, -1, 101, "", False, 10**400],
    "thumbnails": [1, "yes", [], {}, 0],
    "without": [1, "", ["a"], {}],
    "image": [1, [], {}, "", "?", "data:image/png;base64,", "../../etc/passwd"],
  }
  for field, values in wrong.items():
    for value in values:
      body = json.dumps({"query": "a cat"} | {field: value}).encode()
      name = f"{field}-{ascii(value)[:20]}"
      yield Request(f"search-{name}", (400,), body=(body,))
  image = base64.b64encode(_png(8, 8)).decode()
  classify = "/v1/classify"
  labels = ([], "a", [1], [""], ["a", "a"], ["a"] * 1_001, [["a"]], {}, [None])
  for value in labels:
    body = json.dumps({"image": image, "labels": value}).encode()
    yield Request(
      f"labels-{ascii(value)[:20]}",
      (400,),
      "POST",
      "/v1/classify",
      body=(body,),
    )
  templates = ([], ["a"], ["{} {}"], "{}", [2], ["{}"] * 101)
  for value in templates:
    fields = {"image": image, "labels": ["a"], "templates": value}
    body = json.dumps(fields).encode()
    name = f"templates-{ascii(value)[:20]}"
    yield Request(name, (400,), "POST", classify, body=(body,))
  fields = {"image": image, "labels": [*map(str, range(900))]}
  fields["templates"] = ["{}a", "{}b", "{}c"]
  body = json.dumps(fields).encode()
  yield Request("prompts", (400,), "POST", classify, body=(body,))
  for method in ("tiles", "gradients", "", 1, "../windows"):
    fields = {"image": image, "text": "a", "method": method}
    body = json.dumps(fields).encode()
    name = f"explain-method-{method}"
    yield Request(name, (400,), "POST", "/v1/explain", body=(body,))
  for value in ([], ["a"] * 257, "a", [1], [""], {}, [["a"]]):
    body = json.dumps({"texts": value}).encode()
    name = f"embed-{ascii(value)[:20]}"
    yield Request(name, (400,), "POST", "/v1/embed", body=(body,))


def _large() -> Iterator[Request]:
  for size in (10**6, 10**12, 10**30):
    headers = (HOST, JSON, ("content-length", str(size)))
    yield Request(f"claims-{size}", (413,), headers=headers)
  chunk = b"a" * 65_536
  yield Request("streams", (413,), body=(b'{"query": "', *[chunk] * 5))
  yield Request(
    "streams-form",
    (413,),
    headers=(HOST, FORM),
    body=(_part(b"")[:-8], *[chunk] * 5),
  )
  small = (HOST, JSON, ("content-length", "10"))
  yield Request("claims-less", (413,), headers=small, body=(*[chunk] * 5,))
  yield Request("slow", (408,), body=(b'{"query": ', SLOW))
  yield Request("slow-from-the-start", (408,), body=(SLOW,))
  form = (HOST, FORM)
  yield Request("slow-form", (408,), headers=form, body=(b"--B\r\n", SLOW))
  yield Request("gone", (400,), body=(b'{"query": ', None))


def _pictures() -> Iterator[Request]:
  good = _png(300, 300)
  gif = io.BytesIO()
  Image.new("P", (9, 9)).save(gif, "GIF")
  jpeg = io.BytesIO()
  Image.effect_noise((200, 200), 90).save(jpeg, "JPEG")
  noise = io.BytesIO()
  Image.effect_noise((99, 99), 90).save(noise, "PNG")
  wide = jpeg.getvalue()
  at = wide.index(b"\xff\xc0") + 5
  bombs = {
    "text": b"no picture at all",
    "zeros": bytes(5_000),
    "png-bomb": _png_header(100_000, 100_000),
    "png-bomb-filled": _png(12_000, 9_000),
    "png-chunk-bomb": good[:33] + _chunk(b"zTXt", b"a\0\0" + zlib.compress(
      bytes(80_000_000), 9)) + _header_only(8, 8),
    "png-half": noise.getvalue()[:4_000],
    "png-head": good[:20],
    "gif-bomb": gif.getvalue()[:6] + b"\xff\xff\xff\xff" + gif.getvalue()[10:],
    "jpeg-bomb": wide[:at] + b"\xff\xff\xff\xff" + wide[at + 4 :],
    "jpeg-half": wide[:400],
    "jpeg-start": b"\xff\xd8\xff",
    "bmp-bomb": b"BM" + struct.pack(
      "<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 90_000, 90_000, 1, 24, *[0] * 6
    ),
    "tiff": b"II*\0" + struct.pack("<I", 8) + b"\xff" * 60,
    "webp": b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(40),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\3\4" + bytes(60),
    "ppm-bomb": b"P6 90000 90000 255 ",
  }  # fmt: skip
  jobs = {
    "search": {},
    "classify": {"labels": "a"},
    "explain": {"text": "a"},
  }
  for (name, data), (job, texts) in itertools.product(
    bombs.items(), jobs.items()
  ):
    body = b"".join(_part(v.encode(), k)[:-7] for k, v in texts.items())
    body += _part(data, "image", "../../etc/passwd")
    path = f"/v1/{job}"
    yield Request(
      f"picture-{name}-{job}", (400,), "POST", path, (HOST, FORM), (body,)
    )


def _forms() -> Iterator[Request]:
  part = _part(b"a cat", "query")
  forms = {
    "empty": b"",
    "no-end": part[:-8],
    "no-name": b"--B\r\nContent-Disposition: form-data\r\n\r\na\r\n--B--\r\n",
    "no-head": b"--B\r\n\r\na\r\n--B--\r\n",
    "other-boundary": part.replace(b"--B", b"--C"),
    "twice": part[:-7] + part,
    "unknown": _part(b"a", "path"),
    "fields": b"".join(_part(b"a", f"f{n}")[:-7] for n in range(2_000)) + part,
    "files": b"".join(
      _part(b"a", f"f{n}", "f")[:-7] for n in range(50)
    ) + part,
    "file-as-text": _part(b"a cat", "query", "a.txt"),
    "text-as-file": _part(b"a cat", "image"),
    "noise": b"--B\r\n" + bytes(range(256)) * 4,
    "long-header": b"--B\r\nX: " + b"a" * 100_000 + b"\r\n\r\na\r\n--B--\r\n",
  }  # fmt: skip
  for name, body in forms.items():
    yield Request(f"form-{name}", (400,), headers=(HOST, FORM), body=(body,))
  no_boundary = (HOST, ("content-type", "multipart/form-data"))
  yield Request("form-no-boundary", (400,), headers=no_boundary, body=(part,))


def _part(data: bytes, name: str = "image", file: str = "") -> bytes:
  """Return a form of one part; without the last seven bytes it may go on."""
  named = f'; filename="{file}"' if file else ""
  head = f'--B\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
  return head.encode() + data + b"\r\n--B--\r\n"


def _png(width: int, height: int) -> bytes:
  file = io.BytesIO()
  Image.new("1", (width, height)).save(file, "PNG")
  return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
  check = struct.pack(">I", zlib.crc32(kind + data))
  return struct.pack(">I", len(data)) + kind + data + check


def _png_header(width: int, height: int) -> bytes:
  return b"\x89PNG\r\n\x1a\n" + _header_only(width, height)


def _header_only(width: int, height: int) -> bytes:
  size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  return _chunk(b"IHDR", size)
