"""Rules for the parameters of a decoder (models/decoding), named "decoder".

They stand before those of base.py, which split its attention and MLPs.
"""

Rules = tuple[tuple[str, tuple[str | None, ...]], ...]


def partition_rules(*, tied: bool) -> Rules:
  """Return rules that split the vectors of words, by words and width.

  Args:
    tied: whether words are predicted with the vectors that they are read with.
  """
  tables = "token_embedding" if tied else "(token_embedding|words)"
  return (
    (rf"decoder/{tables}", ("tensor", "fsdp")),
    (r"decoder/word_bias", ("tensor",)),
  )
