"""Load on --task=serve: none of many requests may be lost.

  python main.py --task=serve --index=DIR --port=8000 &
  python -m tests.long.serve_load --url=http://127.0.0.1:8000 --pid=$!

Requests are searches by text, and of every tenth a picture to embed, to
classify or to search by. A line for each number of clients: requests by answer,
those lost (no whole answer), requests a second, and seconds of which a half and
a hundredth are longer. Exit code 1 where one was lost or failed.
"""

import argparse
import base64
import collections
import http.client
import io
import itertools
import json
import pathlib
import threading
import time
import urllib.parse

import numpy as np
from PIL import Image

ANSWERS = (200, 429)


def _bodies(only_search: bool):
  """Yield path and body of each request, without end."""
  pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, "JPEG")
  image = base64.b64encode(file.getvalue()).decode()
  pictures = itertools.cycle(
    [
      ("/v1/search", {"image": image}),
      ("/v1/classify", {"image": image, "labels": ["cat", "dog", "car"]}),
      ("/v1/embed", {"images": [image]}),
    ]
  )
  for n in itertools.count():
    if n % 10 == 9 and not only_search:
      yield next(pictures)
    else:
      yield "/v1/search", {"query": f"red car number {n}", "num_results": 10}


def _client(url, bodies, lock, left, answers, seconds):
  """Send requests over one connection until none is left."""
  address = urllib.parse.urlsplit(url).netloc
  connection = http.client.HTTPConnection(address, timeout=120)
  while True:
    with lock:
      if not left[0]:
        return
      left[0] -= 1
      path, body = next(bodies)
    start = time.perf_counter()
    try:
      connection.request(
        "POST",
        path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
      )
      answer = connection.getresponse()
      json.loads(answer.read())
      code, wait = str(answer.status), answer.headers.get("Retry-After")
    except (OSError, http.client.HTTPException, ValueError):
      connection.close()
      code, wait = "lost", None
    with lock:
      answers[code] += 1
      seconds.append(time.perf_counter() - start)
    if wait:
      time.sleep(float(wait))


def _memory(pid: int) -> float:
  """Return the resident memory of a process in MB; NaN without one."""
  if not pid:
    return float("nan")
  lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  return int(next(x for x in lines if x.startswith("VmRSS")).split()[1]) / 1e3


def measure(args, num, at_once):
  """Print a line about requests; return whether all were answered."""
  lock, left = threading.Lock(), [num]
  answers, seconds = collections.Counter(), []
  bodies = _bodies(args.only_search)
  before, start = _memory(args.pid), time.perf_counter()
  threads = [
    threading.Thread(
      target=_client, args=(args.url, bodies, lock, left, answers, seconds)
    )
    for _ in range(at_once)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  took = time.perf_counter() - start
  half, most = np.quantile(seconds, [0.5, 0.99])
  print(
    f"{at_once} clients: {num} requests, {dict(answers)},"
    f" {answers['lost']} lost, {num / took:.0f}/s, median {1e3 * half:.1f} ms,"
    f" p99 {1e3 * most:.1f} ms, memory {before:.0f} to"
    f" {_memory(args.pid):.0f} MB",
    flush=True,
  )
  return sum(answers[str(code)] for code in ANSWERS) == num


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--url", default="http://127.0.0.1:8000")
  parser.add_argument("--num", type=int, default=10_000)
  parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
  parser.add_argument("--only_search", action="store_true")
  parser.add_argument("--pid", type=int, default=0, help="of the server")
  args = parser.parse_args()
  # A client alone takes long: it gets fewer requests.
  parts = [
    measure(args, args.num if n > 1 else args.num // 10, n)
    for n in args.clients
  ]
  raise SystemExit(not all(parts))


if __name__ == "__main__":
  main()
