"""What can be wrong with one example, by kind; the run goes on without it."""

import dataclasses
import types
from collections.abc import Mapping

# Kind -> what it means. The names are those of data_errors.jsonl.
KINDS: Mapping[str, str] = types.MappingProxyType(
  {
    "caption_broken": "a caption that is not text, or not to its end",
    "caption_missing": "no caption, or an empty one",
    "caption_too_long": "a caption longer than data.max_caption_chars",
    "file_missing": "a file that was listed is gone",
    "image_broken": "an image that cannot be decoded, or not to its end",
    "image_missing": "no image beside the caption",
    "image_too_large": "an image of more pixels than are decoded",
    "member_twice": "two files where one is expected: which one is not known",
    "read_failed": "a read that failed each time it was tried",
    "record_broken": "stored bytes that are not a record",
    "shard_changed": "a shard that is not the one that was indexed",
    "shard_short": "a shard that ends before its last example",
    "unsafe_member": "a pickle, or a path that leaves its folder",
  }
)
# Those that may be gone the next time: a resumed run repeats what it did.
TRANSIENT = frozenset({"file_missing", "read_failed"})


class ExampleError(ValueError):
  """One example that cannot be used, whatever is done again.

  Attributes:
    kind: a key of KINDS.
  """

  def __init__(self, kind: str, message: str):
    super().__init__(message)
    assert kind in KINDS, kind
    self.kind = kind

  # Both arguments, or an error of a worker process could not be read here.
  def __reduce__(self):
    return type(self), (self.kind, str(self))


@dataclasses.dataclass(frozen=True)
class Fault:
  """One example that was left out, and where another took its place.

  Attributes:
    position: in the stream of examples: step * batch_size + row.
    attempt: 0 for the example that was due, 1 for the first in its place, ...
    source: name in data.sources.
    index: of the example in the source.
    key: its name, "" where it could not be read.
    kind: a key of KINDS.
    message: what was wrong.
  """

  position: int
  attempt: int
  source: str
  index: int
  key: str
  kind: str
  message: str

  @property
  def place(self) -> tuple[int, int]:
    """Return what no two faults of a run share."""
    return self.position, self.attempt
