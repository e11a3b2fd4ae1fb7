"""Notices that Google Cloud gives a machine before it ends it, as SIGTERM.

The metadata server of a machine says `instance/maintenance-event` =
TERMINATE_ON_HOST_MAINTENANCE before maintenance that ends it, and
`instance/preempted` = TRUE from the preemption of a spot machine on. Source:
Compute Engine's documentation, "Query the metadata server for maintenance event
notices" and "Preemptible VM instances".
"""

import os
import pathlib
import signal
import sys
import threading
import urllib.request

# Variable of Google's own libraries, and the server's name without it.
HOST = "GCE_METADATA_HOST"
_HOST = "metadata.google.internal"
_PRODUCT = pathlib.Path("/sys/class/dmi/id/product_name")
_NOTICES = {
  "maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE",
  "preempted": "TRUE",
}
# Seconds between two questions: a preempted machine ends in 30.
_SECONDS = 5.0
_TIMEOUT = 2.0


def watch(seconds: float = _SECONDS) -> threading.Event | None:
  """Send this process SIGTERM once the machine has a notice.

  Returns:
    event that ends the watch; None where the machine is none of Google Cloud.
  """
  host = os.environ.get(HOST) or (_HOST if _is_google() else "")
  if not host:
    return None
  ended = threading.Event()
  threading.Thread(
    target=_watch, args=(host, seconds, ended), daemon=True
  ).start()
  return ended


def _watch(host: str, seconds: float, ended: threading.Event) -> None:
  while not ended.wait(seconds):
    for name, value in _NOTICES.items():
      if _ask(host, name) == value and not ended.is_set():
        text = f"Google Cloud: instance/{name} is {value}"
        print(text, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        return


def _ask(host: str, name: str) -> str:
  """Return a value of the metadata server; "" where it does not answer."""
  request = urllib.request.Request(
    f"http://{host}/computeMetadata/v1/instance/{name}",
    headers={"Metadata-Flavor": "Google"},
  )
  try:
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
      return answer.read(100).decode(errors="replace").strip()
  except OSError:
    return ""


def _is_google() -> bool:
  try:
    return "Google" in _PRODUCT.read_text()
  except OSError:
    return False
