"""Steps that compare stored embeddings: with a batch's, or a target task's."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curation import operators
from curation import pool as pool_lib
from curation.on_disk import embedding_store, of_embeddings, random_batches
from curation.rules import references
from runtime import progress

NORMS = ("inf", "2")
# Images of one call of NormSim.
_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class NegClipLoss(operators.MeshFilter, of_embeddings.OfEmbeddings):
  """Score pairs by negCLIPLoss; see curation/on_mesh/negclip.py. It keeps all.

  Attributes:
    model: of an earlier step `embed`; "columns:NAME" of `stored_embeddings`.
    signal: name of the score, float32.
    temperature: the model's; 0.01 for OpenAI's CLIP, 0.07 for DFN-P in the
      paper's code.
    batch_size: 32,768 there. A last, smaller batch is shared out: the sizes of
      batches differ by one pair at most (curation/on_disk/random_batches.py).
    num_rounds: batches that each pair is in; its score is the mean.
    seed: of the batches.
  """

  signal: str
  temperature: float
  batch_size: int
  num_rounds: int
  seed: int

  columns = ("uid",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def check(self, field: str) -> None:
    super().check(field)
    if not self.temperature > 0:
      raise ValueError(
        f"{field}.temperature must be above 0; got {self.temperature}"
      )
    for name in ("batch_size", "num_rounds"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{field}.{name} must be at least 1; got {getattr(self, name)}"
        )

  def reduce(
    self,
    parts: Sequence[pathlib.Path],
    context: operators.StepContext,
    run: operators.RunFn,
  ) -> dict[str, Any]:
    del run
    # JAX, which workers do not import.
    from curation.on_mesh import negclip, scorer

    assert context.state is not None
    pairs = random_batches.Batches(
      tuple(sorted(parts, key=lambda part: part.name)),
      scorer.open_store(context, self.model),
      context.state,
    )
    mesh = scorer.make_mesh()
    sums = _Sums(pairs, context.state)
    sizes = pairs.sizes(self.batch_size)
    total = len(pairs) * self.num_rounds
    with progress.Progress(f"negCLIPLoss {self.signal}", total) as bar:
      for number in range(self.num_rounds):
        for batch in pairs.draw(self.batch_size, self._seed(number)):
          found = negclip.scores(
            batch.zimg,
            batch.ztxt,
            self.temperature,
            mesh,
            padded=int(sizes.max()),
          )
          sums.add(batch, found)
          bar.advance(len(found))
    return {
      "num_pairs": len(pairs),
      "num_batches": len(sizes),
      "least_batch": int(sizes.min(initial=self.batch_size)),
      "greatest_batch": int(sizes.max(initial=0)),
    }

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    assert context.state is not None
    state = context.state

    def decide(
      shard: pool_lib.Shard,
      tables: Iterable[pa.Table],
      read: operators.ReadFn,
    ) -> Iterator[operators.Verdict]:
      del read
      found = np.load(_path(state, shard.name), allow_pickle=False)
      for table in tables:
        places = np.searchsorted(found["row"], table["row"].to_numpy())
        mean = found["sum"][places] / self.num_rounds
        yield operators.Verdict(None, {self.signal: mean.astype(np.float32)})

    return decide

  def _seed(self, number: int) -> int:
    # Of no other seed's round, for as many rounds as anyone takes.
    return self.seed * (1 << 32) + number


class _Sums:
  """The sum of each pair's scores, in a file a shard."""

  def __init__(self, pairs: random_batches.Batches, state: pathlib.Path):
    self._names = [part.name for part in pairs.parts]
    self._state = state
    for number, name in enumerate(self._names):
      rows = pairs.rows(number)["row"]
      sums = np.zeros(len(rows), [("row", "<i8"), ("sum", "<f8")])
      sums["row"] = rows
      np.save(_path(state, name), sums, allow_pickle=False)

  def add(self, batch: random_batches.Batch, scores: np.ndarray) -> None:
    for part, chosen in random_batches.by_part(batch.part):
      sums = np.load(
        _path(self._state, self._names[part]),
        mmap_mode="r+",
        allow_pickle=False,
      )
      # Each pair is once in a round, and rounds follow each other.
      sums["sum"][batch.place[chosen]] += scores[chosen]


def _path(state: pathlib.Path, name: str) -> pathlib.Path:
  return state / f"sums-{name}.npy"


@dataclasses.dataclass(frozen=True)
class NormSim(operators.MeshFilter):
  """Score images by NormSim; see curation/on_mesh/normsim.py. It keeps all.

  Attributes:
    model: of an earlier step `embed`; "columns:NAME" of `stored_embeddings`.
    signal: name of the score, float32.
    references: the target task's images: a folder, a quoted pattern, or their
      embeddings by the same model (a .npy file [R, E], a folder of
      --task=embed).
    norm: "inf" for the largest cosine, "2" for the root of their squares' sum.
  """

  model: str
  signal: str
  references: str
  norm: str

  columns = ("uid",)

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def check(self, field: str) -> None:
    embedding_store.check_model(self.model, field)
    references.check(self.references, field)
    if self.norm not in NORMS:
      raise ValueError(
        f"{field}.norm must be one of {', '.join(NORMS)}; got {self.norm!r}"
      )

  def files(self) -> tuple[str, ...]:
    return (
      *embedding_store.files_of(self.model),
      *references.files_of(self.references),
    )

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    from curation.on_mesh import normsim, scorer

    store = scorer.open_store(context, self.model)
    z_RE = references.load(context, self.model, self.references)
    targets = normsim.Targets(z_RE, self.norm, scorer.make_mesh())

    def decide(
      shard: pool_lib.Shard,
      tables: Iterable[pa.Table],
      read: operators.ReadFn,
    ) -> Iterator[operators.Verdict]:
      del read
      records = store.open(shard)
      for table in tables:
        zimg_NE = records.read(table)["zimg"]
        references.check_width(z_RE, zimg_NE.shape[1], self.references)
        found = targets.compare(zimg_NE, _BATCH_SIZE)
        yield operators.Verdict(None, {self.signal: found})

    return decide
