"""Random numbers that depend on a pair's UID and a seed alone.

Neither the order of shards nor the number of workers nor a resume changes a
pair's numbers.
"""

import hashlib

import numpy as np

from input_pipeline.storage import uids as uids_lib

# Constants of SplitMix64's finalizer (Steele, Lea and Flood, OOPSLA 2014,
# figure 15, variant 13), which mixes every bit into every other.
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def h64(uids: np.ndarray, seed: int) -> np.ndarray:
  """Return a uint64 [N] of UIDs in any form of uids.py.

  Seeds are any integers; hashes of different seeds are independent.
  """
  high, low = uids_lib.halves(uids)
  mixed = mix(high ^ np.uint64(_seed_bits(seed, 0)))
  return mix(mixed + low ^ np.uint64(_seed_bits(seed, 1)))


def uniform(uids: np.ndarray, seed: int) -> np.ndarray:
  """Return a float64 [N] in [0, 1): the top 53 bits of `h64`."""
  return (h64(uids, seed) >> np.uint64(11)) * 2.0**-53


def mix(bits: np.ndarray) -> np.ndarray:
  """Return uint64 [N]; each bit depends on all bits of the argument."""
  bits = (bits ^ (bits >> np.uint64(30))) * _MULTIPLIER_1
  bits = (bits ^ (bits >> np.uint64(27))) * _MULTIPLIER_2
  return bits ^ (bits >> np.uint64(31))


def _seed_bits(seed: int, part: int) -> int:
  digest = hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little")
