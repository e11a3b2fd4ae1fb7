"""Hostile requests to --task=serve over sockets: refused, and no memory lost.

  python main.py --task=serve --index=DIR --port=8000 &
  python -m tests.long.serve_hostile --port=8000 --pid=$!

The requests of tests/inference/serving/hostile.py are sent by HTTP as they
stand, with the server's own port in their headers, and beside them what no
HTTP client would send: malformed lines, floods of headers, bodies that stop,
and connections that never end their headers. After each round a plain request
must be answered, by the same process. Exit code 1 where an answer is not one of
4xx, or the resident memory of the last round is over --slack MB above that of
the second (the first fills caches).
"""

import argparse
import collections
import contextlib
import http.client
import json
import pathlib
import socket

from tests.inference.serving import hostile

_SECONDS = 60.0
_DEFAULT_PORT = "8000"
_MALFORMED = (
  b"\r\n\r\n",
  b"GET\r\n\r\n",
  b"GET / HTTP/9.9\r\n\r\n",
  b"GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
  b"POST /v1/search HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
  b"POST /v1/search HTTP/1.1\r\nContent-Length: x\r\n\r\n",
  b"POST /v1/search HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
  b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
  b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
  b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
)


def _raw(port: int, request: hostile.Request) -> bytes:
  """Return the bytes of a request up to a part that never comes."""
  port_text = str(port)
  lines = [f"{request.method} {request.path} HTTP/1.1"]
  headers = [
    (name, value.replace(_DEFAULT_PORT, port_text))
    for name, value in request.headers
  ]
  parts = []
  for part in request.body:
    if part is hostile.SLOW or part is None:
      break
    parts.append(part)
  body = b"".join(parts)
  names = {name.lower() for name, _ in headers}
  if not names & {"content-length", "transfer-encoding"}:
    is_cut = len(parts) < len(request.body)
    headers.append(("content-length", str(len(body) + is_cut)))
  lines += [f"{name}: {value}" for name, value in headers]
  return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def _answer(port: int, data: bytes) -> int:
  """Return the code of the answer to bytes; 0 where the connection ends."""
  with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
    received = b""
    # The server may have answered before all was sent, and read no more.
    with contextlib.suppress(OSError):
      connection.sendall(data)
    with contextlib.suppress(ConnectionError):
      while b"\r\n" not in received:
        part = connection.recv(4096)
        if not part:
          break
        received += part
  words = received.split(b" ", 2)
  return int(words[1]) if received.startswith(b"HTTP/") else 0


def _is_alive(port: int) -> bool:
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
  body = json.dumps({"texts": ["a cat"]})
  headers = {"Content-Type": "application/json"}
  connection.request("POST", "/v1/embed", body, headers)
  return connection.getresponse().status == 200


def _memory(pid: int) -> float:
  """Return the resident memory of a process in MB."""
  lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  return int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1e3


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--port", type=int, default=8000)
  parser.add_argument("--pid", type=int, required=True, help="of the server")
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--slack", type=float, default=20.0)
  args = parser.parse_args()
  requests = [*hostile.requests()]
  failed, memory = [], []
  for number in range(args.rounds):
    codes: collections.Counter[int] = collections.Counter()
    for request in requests:
      code = _answer(args.port, _raw(args.port, request))
      codes[code] += 1
      # 0: what is no HTTP at all may be answered by the end of the connection.
      if not 400 <= code < 500:
        failed.append(f"{request.name}: {code}")
    for data in _MALFORMED:
      code = _answer(args.port, data)
      codes[code] += 1
      if code and not 400 <= code < 500:
        failed.append(f"{data[:40]!r}: {code}")
    held = [
      socket.create_connection(("127.0.0.1", args.port)) for _ in range(100)
    ]
    for one in held:
      one.sendall(b"POST /v1/search HTTP/1.1\r\nHost: 127")
    if not _is_alive(args.port):
      failed.append("a plain request was not answered")
    for one in held:
      one.close()
    memory.append(_memory(args.pid))
    print(
      f"round {number + 1}: {sum(codes.values())} requests, answers"
      f" {dict(sorted(codes.items()))}, memory {memory[-1]:.0f} MB",
      flush=True,
    )
  grown = memory[-1] - memory[min(1, len(memory) - 1)]
  for line in failed:
    print(line)
  print(f"{len(failed)} failed; memory since round 2: {grown:+.1f} MB")
  raise SystemExit(bool(failed) or grown > args.slack)


if __name__ == "__main__":
  main()
