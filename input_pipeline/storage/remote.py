"""Calls of fsspec's file systems with a timeout."""

import asyncio
import concurrent.futures
import functools
import os
import re
import threading
from collections.abc import Callable
from typing import Any

import fsspec
import fsspec.asyn
import fsspec.core

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}


def scheme(path: str) -> str:
  """Return the scheme of a URL in lower case, "" for a local path."""
  match = _URL.match(path)
  return match[1].lower() if match else ""


def is_remote(path: str) -> bool:
  """Return whether a path is a URL, of another scheme than file://."""
  return scheme(path) not in ("", "file", "local")


def local_path(path: str) -> str:
  """Return the path of a file:// URL, or `path` with ~ expanded."""
  if is_remote(path):
    return path
  return os.path.expanduser(path.partition("://")[2] or path)


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """Return the file system of a URL, and the file's name in it.

  The file system belongs to this process and thread, and is made once (fsspec
  caches it). Raises ModuleNotFoundError that names the package to install,
  ValueError for an unknown scheme.
  """
  try:
    return fsspec.core.url_to_fs(path)
  except ImportError as error:
    package = _PACKAGES.get(scheme(path))
    raise ModuleNotFoundError(
      f"{scheme(path)}:// needs the package {package}: pip install {package},"
      " or pip install -r requirements-remote.txt"
      if package
      else f"{scheme(path)}:// needs a package that is not installed: {error}"
    ) from error


def call(
  fs: fsspec.AbstractFileSystem,
  method: str,
  *args: Any,
  seconds: float,
  **kwargs: Any,
) -> Any:
  """Call a method of a file system; TimeoutError if it takes too long."""
  future: concurrent.futures.Future
  if isinstance(fs, fsspec.asyn.AsyncFileSystem):
    coroutine = getattr(fs, f"_{method}")(*args, **kwargs)
    assert fs.loop is not None  # None only if made within a coroutine
    future = asyncio.run_coroutine_threadsafe(coroutine, fs.loop)
  else:
    future = concurrent.futures.Future()
    work = functools.partial(getattr(fs, method), *args, **kwargs)
    # Not a thread of a pool, which would wait for it when the process ends.
    threading.Thread(target=_fill, args=(future, work), daemon=True).start()
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
