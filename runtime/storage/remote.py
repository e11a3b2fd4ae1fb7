"""Calls of fsspec's file systems with a timeout."""

import asyncio
import concurrent.futures
import functools
import logging
import os
import re
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import fsspec
import fsspec.asyn
import fsspec.core
from absl import logging as absl_logging

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Timeout of a look-up.
_SECONDS = 120.0
_PACKAGES = {
  **{"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"},
  **{"http": "aiohttp", "https": "aiohttp"},
}


def scheme(path: str) -> str:
  """Return the scheme of a URL in lower case, "" for a local path."""
  match = _URL.match(path)
  return match[1].lower() if match else ""


def is_remote(path: str) -> bool:
  """Return whether a path is a URL, of another scheme than file://."""
  return scheme(path) not in ("", "file", "local")


def local_path(path: str) -> str:
  """Return the path of a file:// URL, or `path` with ~ expanded.

  Other URLs get their scheme in lower case, as fsspec knows it.
  """
  if is_remote(path):
    return scheme(path) + path[path.index("://") :]
  return os.path.expanduser(path.partition("://")[2] or path)


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """Return the file system of a URL, and the file's name in it.

  The file system belongs to this process and thread, and is made once (fsspec
  caches it). Raises ModuleNotFoundError that names the package to install,
  ValueError for an unknown scheme.
  """
  found = scheme(path)
  # Errors are raised too, and this project says them in a line.
  if absl_logging.get_verbosity() < absl_logging.DEBUG:
    for name in ("gcsfs", "google.auth"):
      logging.getLogger(name).setLevel(logging.CRITICAL)
  try:
    return fsspec.core.url_to_fs(local_path(path))
  except ImportError as error:
    package = _PACKAGES.get(found)
    listed = "requirements-remote.txt"
    if found in ("http", "https"):
      listed = "requirements.txt"
    raise ModuleNotFoundError(
      f"{found}:// needs the package {package}: pip install {package}, or pip"
      f" install -r {listed}"
      if package
      else f"{found}:// needs a package that is not installed: {error}"
    ) from error


def bucket(path: str) -> str:
  """Return the bucket of a URL of an object store.

  >>> bucket("gs://a-bucket/sets/x.tar")
  'a-bucket'
  """
  return path.partition("://")[2].partition("/")[0]


def has_bucket(path: str) -> bool:
  """Return whether the bucket of a URL is there, as far as one may know.

  Other stores than gs:// and s3:// have none, and who may read objects may not
  always look up their bucket.
  """
  if scheme(path) not in ("gs", "gcs", "s3", "s3a"):
    return True
  fs, _ = file_system(path)
  try:
    call(fs, "info", bucket(path), seconds=_SECONDS)
  except FileNotFoundError:
    return False
  except Exception:  # each fsspec package has its own
    return True
  return True


def call(
  fs: fsspec.AbstractFileSystem,
  method: str,
  *args: Any,
  seconds: float,
  **kwargs: Any,
) -> Any:
  """Call a method of a file system; TimeoutError if it takes too long."""
  if isinstance(fs, fsspec.asyn.AsyncFileSystem):
    return wait(fs, getattr(fs, f"_{method}")(*args, **kwargs), seconds)
  future: concurrent.futures.Future = concurrent.futures.Future()
  work = functools.partial(getattr(fs, method), *args, **kwargs)
  # Not a thread of a pool, which would wait for it when the process ends.
  threading.Thread(target=_fill, args=(future, work), daemon=True).start()
  try:
    return future.result(seconds)
  finally:
    future.cancel()


def wait(fs: Any, coroutine: Coroutine, seconds: float) -> Any:
  """Return the result of a file system's coroutine; raises as `call` does."""
  assert fs.loop is not None  # None only if made within a coroutine
  future = asyncio.run_coroutine_threadsafe(coroutine, fs.loop)
  try:
    return future.result(seconds)
  finally:
    future.cancel()  # closes the connection of an unfinished request


def _fill(future: concurrent.futures.Future, work: Callable[[], Any]) -> None:
  if not future.set_running_or_notify_cancel():
    return
  try:
    future.set_result(work())
  except BaseException as error:
    future.set_exception(error)
