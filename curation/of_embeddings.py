"""What the reductions over stored embeddings have in common."""

import dataclasses

from curation import embeddings, operators, random_batches


@dataclasses.dataclass(frozen=True)
class OfEmbeddings(operators.Reduction):
  """Reduces the embeddings of the pairs that come to it.

  Attributes:
    model: of an earlier step `embed`; "columns:NAME" of `stored_embeddings`.
  """

  model: str

  def check(self, field: str) -> None:
    embeddings.check_model(self.model, field)

  def files(self) -> tuple[str, ...]:
    return embeddings.files_of(self.model)

  def measure(self, place: operators.Place) -> operators.Measure:
    del place
    return random_batches.Measure()
