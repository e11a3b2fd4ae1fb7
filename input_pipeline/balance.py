"""Which examples an epoch has, so that concepts with many variants do not rule.

An epoch is a sequence of places; the example of a place is drawn from its
candidates when it is read.
"""

from collections.abc import Iterator, Sequence

from input_pipeline.sources import array_record


def places(
  records: array_record.Records, max_per_concept: int
) -> Sequence[tuple[int, ...]]:
  """Return, for each place of an epoch, the indices of its candidates.

  Args:
    records: in their order on disk.
    max_per_concept: a concept with more examples than this gets as many places
      of which each may draw any of them; others have a place for each
      example. 0: each example has a place.
  """
  if not max_per_concept:
    return _Each(len(records))
  by_concept: dict[str, list[int]] = {}
  for index, record in enumerate(records):
    # An example without a concept is one of its own.
    name = f"concept {record.concept}" if record.concept else f"key {index}"
    by_concept.setdefault(name, []).append(index)
  return list(_limited(by_concept.values(), max_per_concept))


def _limited(groups, limit: int) -> Iterator[tuple[int, ...]]:
  for group in groups:
    if len(group) <= limit:
      yield from ((index,) for index in group)
    else:
      yield from [tuple(group)] * limit


class _Each(Sequence[tuple[int, ...]]):
  """Place i holds example i; takes no memory for an example."""

  def __init__(self, num_examples: int):
    self._num_examples = num_examples

  def __len__(self) -> int:
    return self._num_examples

  def __getitem__(self, index):
    return (range(self._num_examples)[index],)
