"""What the reductions over stored embeddings have in common."""

import dataclasses

from curation import operators
from curation.on_disk import embedding_store, random_batches


@dataclasses.dataclass(frozen=True)
class OfEmbeddings(operators.Reduction):
  """Reduces the embeddings of the pairs that come to it.

  Attributes:
    model: of an earlier step `embed`; "columns:NAME" of `stored_embeddings`.
  """

  model: str

  def check(self, field: str) -> None:
    embedding_store.check_model(self.model, field)

  def files(self) -> tuple[str, ...]:
    return embedding_store.files_of(self.model)

  def measure(self, context: operators.StepContext) -> operators.Measure:
    del context
    return random_batches.Measure()
