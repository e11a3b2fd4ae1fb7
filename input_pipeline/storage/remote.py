"""Calls of fsspec's file systems that end, whatever the other side does."""

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
  """Return what is before :// in lower case, "" for a local path."""
  found = _URL.match(path)
  return found[1].lower() if found else ""


def is_remote(path: str) -> bool:
  """Return whether a path is a URL, of another scheme than file://."""
  return scheme(path) not in ("", "file", "local")


def local_path(path: str) -> str:
  """Return the local path of file://, or what is in ~; a URL as it is."""
  if is_remote(path):
    return path
  return os.path.expanduser(path.partition("://")[2] or path)


def file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
  """Return what reads a URL, and the file's name in it.

  It belongs to this process and thread, and is made once (fsspec keeps it).
  Raises ModuleNotFoundError that names the package to install, ValueError for
  a scheme that nobody knows.
  """
  try:
    return fsspec.core.url_to_fs(path)
  except ImportError as error:
    package = _PACKAGES.get(scheme(path))
    advice = f"pip install {package}" if package else str(error)
    raise ModuleNotFoundError(
      f"{scheme(path)}:// needs a package that is not installed: {advice} "
      "(requirements-remote.txt has those for gs:// and s3://)"
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
    assert fs.loop is not None  # None is for those made within a coroutine
    future = asyncio.run_coroutine_threadsafe(coroutine, fs.loop)
  else:
    future = concurrent.futures.Future()
    work = functools.partial(getattr(fs, method), *args, **kwargs)
    # Not of a pool, which would wait for it at the end of the process.
    threading.Thread(target=_fill, args=(future, work), daemon=True).start()
  try:
    return future.result(seconds)
  finally:
    future.cancel()  # closes the connection of a request that is under way


def _fill(future: concurrent.futures.Future, work: Callable[[], Any]) -> None:
  if not future.set_running_or_notify_cancel():
    return
  try:
    future.set_result(work())
  except BaseException as error:
    future.set_exception(error)
