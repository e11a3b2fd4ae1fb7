"""Faults of single examples, by kind; the run goes on without the example."""

import contextlib
import dataclasses
import types
from collections.abc import Iterator, Mapping

# Kind -> meaning. The kinds are named so in data_errors.jsonl.
KINDS: Mapping[str, str] = types.MappingProxyType(
  {
    "answer_unknown": "an answer that the vocabulary of answers lacks",
    "box_broken": "a box outside its picture, without area, or not finite",
    "caption_broken": "a caption that is not text, or not to its end",
    "caption_missing": "no caption, or one of invisible characters alone",
    "caption_too_long": "a caption longer than data.max_caption_chars, or cut",
    "embedding_broken": "an embedding that is not finite, or of length 0",
    "embedding_missing": "no embedding beside the pair",
    "file_missing": "a file that was listed is gone",
    "image_broken": "an image that cannot be decoded, or not to its end",
    "image_missing": "no image beside the caption",
    "image_too_large": "an image of more pixels than are decoded",
    "image_too_small": "an image smaller than data.augmentation.pre_crop",
    "member_link": "a link in a tar, in place of a file",
    "member_twice": "two files where one is expected: which one is not known",
    "read_failed": "a read that failed each time it was tried",
    "record_broken": "stored bytes that are not a record",
    "score_broken": "a score that is NaN or infinite",
    "shard_broken": "a file that is no shard, such as a page of HTML",
    "shard_changed": "a shard that is not the one that was indexed",
    "shard_short": "a shard that ends before its last example",
    "unsafe_member": "a pickle, or a path that leaves its folder",
    "video_broken": "a video that cannot be decoded, or not to its end",
    "video_missing": "a file without pictures, such as sound alone",
    "video_too_large": "a video of more pixels a frame than are decoded",
    "video_too_short": "a video of one frame",
  }
)
# Kinds that may not occur at the next read. A resumed run replaces the example
# again nevertheless, to repeat the first run.
TRANSIENT = frozenset({"file_missing", "read_failed"})
# Kinds that a config chooses, by fusion.num_answers or data.answers_path. They
# do not count for data.max_bad_fraction.
CHOSEN = frozenset({"answer_unknown"})


class ExampleError(ValueError):
  """Error for one example that cannot be used.

  Attributes:
    kind: a key of KINDS.
  """

  def __init__(self, kind: str, message: str):
    # A name that is not UTF-8 must not end the run that reports it.
    super().__init__(message.encode("utf-8", "backslashreplace").decode())
    assert kind in KINDS, kind
    self.kind = kind

  # Exceptions pickle with one argument by default; workers send this one.
  def __reduce__(self):
    return type(self), (self.kind, str(self))


@contextlib.contextmanager
def located(origin: str) -> Iterator[None]:
  """Put the origin of an example (Record.origin) before its fault's message."""
  try:
    yield
  except ExampleError as error:
    if not origin:
      raise
    raise ExampleError(error.kind, f"{origin}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Fault:
  """One example that was left out and replaced by another.

  Attributes:
    position: position in the stream of examples: step * batch_size + row.
    attempt: 0 for the example that was due, 1 for its first replacement, ...
    source: name in data.sources.
    index: index of the example in the source.
    key: name of the example, "" if it could not be read.
    kind: a key of KINDS.
    message: description of the fault.
  """

  position: int
  attempt: int
  source: str
  index: int
  key: str
  kind: str
  message: str

  @property
  def slot(self) -> tuple[int, int]:
    """Return (position, attempt), unique among the faults of a run."""
    return self.position, self.attempt
