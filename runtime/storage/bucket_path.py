"""Paths of folders that lie on a disk or in a bucket.

`make` returns a pathlib.Path, or for gs:// and s3:// a BucketPath, which has
those of its methods that a run's folder needs. A bucket has no folders: one is
there while an object lies below it, and none has to be made.
"""

import fnmatch
import glob
import logging
import os
import pathlib
import posixpath
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import fsspec

from runtime.storage import objects, remote

# A BucketPath goes wherever a run's folder does. It is no pathlib.Path at run
# time, since that one would take the URL for a path of this disk.
if TYPE_CHECKING:
  _Base = pathlib.PosixPath
else:
  _Base = object


class BucketPath(_Base):
  """Address of an object, or of the objects below a folder."""

  def __init__(self, url: str):
    scheme, _, rest = url.partition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    self._url = f"{scheme.lower()}://{'/'.join(parts)}"

  def __str__(self) -> str:
    return self._url

  def __repr__(self) -> str:
    return f"BucketPath({self._url!r})"

  def __reduce__(self) -> tuple[Any, ...]:
    # Another process sets the libraries' variables too.
    return make, (self._url,)

  def __fspath__(self) -> str:
    raise TypeError(f"{self._url} is not on this disk")

  def __eq__(self, other: object) -> bool:
    return isinstance(other, BucketPath) and self._url == other._url

  def __lt__(self, other: Any) -> bool:
    return self._url < other._url

  def __hash__(self) -> int:
    return hash(self._url)

  def __truediv__(self, key: Any) -> "BucketPath":
    return BucketPath(f"{self._url}/{key}")

  def joinpath(self, *names: Any) -> "BucketPath":
    """Return the path of names below this one."""
    return BucketPath("/".join((self._url, *map(str, names))))

  @property
  def name(self) -> str:
    """Last part of the address."""
    return self._url.rpartition("/")[2]

  @property
  def suffix(self) -> str:
    """Ending of the name, with its dot."""
    return posixpath.splitext(self.name)[1]

  @property
  def stem(self) -> str:
    """Name without its ending."""
    return posixpath.splitext(self.name)[0]

  @property
  def parent(self) -> "BucketPath":
    """Folder that this lies in."""
    return BucketPath(self._url.rpartition("/")[0])

  def with_name(self, name: str) -> "BucketPath":
    """Return the path of another name in the same folder."""
    if "/" not in self._url.partition("://")[2]:
      raise ValueError(f"{self._url} is a bucket; give a folder in it")
    return self.parent / name

  def with_suffix(self, suffix: str) -> "BucketPath":
    """Return the path with another ending of its name."""
    return self.with_name(f"{self.stem}{suffix}")

  def absolute(self) -> "BucketPath":
    """Return this path."""
    return self

  def resolve(self, strict: bool = False) -> "BucketPath":
    """Return this path."""
    del strict
    return self

  def exists(self) -> bool:
    """Return whether an object has this address, or lies below it."""
    return self.is_file() or self.is_dir()

  def is_file(self) -> bool:
    """Return whether an object has this address."""
    return objects.version(self._url) != objects.ABSENT

  def is_dir(self) -> bool:
    """Return whether an object lies below this address."""
    return objects.has_any(self._url)

  def is_symlink(self) -> bool:
    """Return False: a bucket has no links."""
    return False

  def read_bytes(self) -> bytes:
    """Return the content; FileNotFoundError where there is no object."""
    stored = objects.read(self._url)
    if stored is None:
      raise FileNotFoundError(2, os.strerror(2), self._url)
    return stored.data

  def read_text(
    self, encoding: str | None = None, errors: str | None = None
  ) -> str:
    """Return the content as text."""
    return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

  def write_bytes(self, data: Any) -> int:
    """Replace the object; see `objects.replace`."""
    objects.replace(self._url, bytes(data))
    return len(data)

  def mkdir(
    self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
  ) -> None:
    """Do nothing: a bucket has no folders to make."""

  def rmdir(self) -> None:
    """Do nothing: a bucket has no folders."""

  def unlink(self, missing_ok: bool = False) -> None:
    """Delete the object; one that is not there is no error."""
    objects.delete([self._url])

  def iterdir(self) -> Generator["BucketPath", None, None]:
    """Yield the objects and folders right below this address, by name."""
    yield from (self / name for name in objects.children(self._url))

  def glob(self, pattern: str) -> Generator["BucketPath", None, None]:
    """Yield what matches a pattern, which has as many parts as the names."""
    first, _, rest = pattern.partition("/")
    for path in self.iterdir():
      if fnmatch.fnmatchcase(path.name, first):
        yield from path.glob(rest) if rest else (path,)


def make(path: str | os.PathLike[str]) -> pathlib.Path:
  """Return the path of a folder on a disk or in a bucket."""
  if isinstance(path, BucketPath):
    return path
  if not is_bucket(path):
    return pathlib.Path(path)
  _set_variables()
  return BucketPath(str(path))


def matches(pattern: str) -> list[pathlib.Path]:
  """Return the paths that a pattern matches, on a disk or in a bucket."""
  if not is_bucket(pattern):
    return sorted(map(pathlib.Path, glob.glob(pattern)))
  plain, *parts = re.split(r"/(?=[^/]*[*?\[])", pattern, maxsplit=1)
  root = make(plain)
  check(root, pattern)
  if parts:
    return list(root.glob(parts[0].rstrip("/")))
  return [root] if root.exists() else []


def is_bucket(path: str | os.PathLike[str]) -> bool:
  """Return whether a path is an address in a bucket."""
  return remote.scheme(str(path)) in objects.SCHEMES


def on_disk(path: str, otherwise: str) -> pathlib.Path:
  """Return a folder, or another one where it is in a bucket.

  For files that are mapped into memory.
  """
  return pathlib.Path(otherwise if is_bucket(path) else path)


def is_staged(path: BucketPath) -> bool:
  """Return whether Orbax cannot write to a bucket by itself."""
  return remote.scheme(str(path)) == "s3"


def check(path: pathlib.Path, named: str) -> None:
  """Raise where the bucket of a path cannot be used; see `objects.check`."""
  if isinstance(path, BucketPath):
    objects.check(str(path), named)


def _set_variables() -> None:
  """Point the libraries that Orbax writes to gs:// with to one store."""
  # etils would take TensorFlow for gs:// where it is installed.
  os.environ.setdefault("EPATH_USE_TF", "0")
  # Errors are raised, and said once; gcsfs logs each try with a traceback.
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
  # Other processes, and TensorStore, write beside fsspec, unseen by its lists.
  settings: dict[str, Any] = {"use_listings_cache": False}
  for scheme in ("gs", "gcs", "s3"):
    fsspec.config.conf.setdefault(scheme, {}).update(settings)
  emulator = os.environ.get("STORAGE_EMULATOR_HOST")
  if emulator:
    address = emulator if "://" in emulator else f"http://{emulator}"
    os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", address)
    # Both would ask Google's own servers: for the kind of each bucket, and for
    # credentials.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    os.environ.setdefault("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    for scheme in ("gs", "gcs"):
      fsspec.config.conf[scheme].setdefault("token", "anon")
