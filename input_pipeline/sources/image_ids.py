"""Names of images, by which evaluate.holdout keeps some out of training.

Examples share an image, and are held out together, where

- their images have the same encoded bytes: rows of one file, files or members
  of one content, equal values of a column. The name is a digest of the bytes,
  so that it is the same in a folder, a table, tars, Parquet, TFDS and a
  prepared folder, in any order and number of files, under any path;
- they name the same web address (http and https), which is not read for this: a
  server may be slow, or gone tomorrow. Scheme, usual port, fragment and the
  spelling of letters (%20) do not count;
- the source's section names a field in `uid` and they have the same there, as
  captions have that come with the number of their image.

An image that cannot be read is named by its example's UID. --task=prepare
writes names that may not be those of the bytes beside the records, so that a
prepared folder holds out what its origin did. A picture that was encoded twice
has two names.
"""

import hashlib
import urllib.parse

import numpy as np

from input_pipeline.storage import uids as uids_lib

# A name: 16 bytes, which are random as those of a hash are.
DTYPE = uids_lib.S16
_SIZE = DTYPE.itemsize


def of_bytes(image: bytes) -> bytes:
  """Return the name of an encoded image."""
  # Processors of today have instructions for SHA-256: twice BLAKE2b's speed.
  return _hashed(hashlib.sha256(image).digest(), b"image")


def of_address(url: str) -> bytes:
  """Return the name of an image at a web address."""
  parts = urllib.parse.urlsplit(url)
  host = (parts.hostname or "").encode("utf-8", "surrogateescape")
  port = parts.netloc.rpartition("@")[2].rpartition(":")[2]
  if port.isdigit() and port not in ("80", "443"):
    host += f":{int(port)}".encode()
  path = urllib.parse.unquote_to_bytes(parts.path)
  query = urllib.parse.unquote_to_bytes(parts.query)
  return _hashed(host + b"/" + path.lstrip(b"/") + b"?" + query, b"address")


def of_uid(uid: np.void) -> bytes:
  """Return the name of an image that cannot be read, by its example's UID."""
  return _hashed(uids_lib.uid_bytes(uid), b"uid")


def linked(ids: np.ndarray, uids: np.ndarray) -> np.ndarray:
  """Return names [N] that are equal where ids or UIDs are, or lead to it.

  An image without a UID in common with another one keeps its name.

  Args:
    ids: DTYPE [N].
    uids: UID [N]; (0, 0) is none.
  """
  names, image_N = np.unique(ids, return_inverse=True)
  uids = uids_lib.sortable(uids)
  values, uid_N = np.unique(uids, return_inverse=True)
  is_none = values == np.bytes_(b"")  # NumPy strips NUL bytes
  # A number of its own for each example without a UID.
  uid_N = np.where(is_none[uid_N], len(values) + np.arange(len(ids)), uid_N)
  # The lowest image that each example leads to.
  lowest_N, before_N = image_N, None
  while before_N is None or (lowest_N != before_N).any():
    before_N = lowest_N
    for number_N in (uid_N, image_N):
      lowest = np.full(int(number_N.max()) + 1, len(names))
      np.minimum.at(lowest, number_N, lowest_N)
      lowest_N = lowest[number_N]
  made = names.copy()
  # Hashed: the lowest of many names would be held out more often than others.
  for image in np.unique(lowest_N[lowest_N != image_N]).tolist():
    made[image] = _hashed(names[image].ljust(_SIZE, b"\0"), b"group")
  return made[lowest_N]


def _hashed(data: bytes, kind: bytes) -> bytes:
  return hashlib.blake2b(
    data, digest_size=_SIZE, person=b"holdout " + kind
  ).digest()
