"""Steps negclip_loss and normsim: scores computed from stored embeddings."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from curation import operators
from curation.on_disk import embedding_store, random_batches
from curation.rules import references
from runtime import checks, progress

NORMS = ("inf", "2")
# Number of images in one call of NormSim.
_BATCH_SIZE = 1024


@dataclasses.dataclass(frozen=True)
class NegClipLoss(embedding_store.Reduction, operators.MeshFilter):
  """Score pairs by negCLIPLoss (on_mesh/negclip.py); all pairs are kept.

  Attributes:
    model: as in embedding_store.ModelStep.
    signal: name of the score, float32.
    temperature: the model's temperature: 0.01 for OpenAI's CLIP, 0.07 for DFN-P
      in the paper's code.
    batch_size: highest number of pairs in a batch, 32,768 in the paper's code.
      Sizes of batches differ by at most one (on_disk/random_batches.py): there
      is no small last batch.
    num_rounds: number of batches that each pair is in; its score is the mean.
    seed: random seed of the batches.
  """

  signal: str
  temperature: float
  batch_size: int
  num_rounds: int
  seed: int

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def check(self, field: str) -> None:
    super().check(field)
    checks.above(f"{field}.temperature", self.temperature, 0)
    for name in ("batch_size", "num_rounds"):
      checks.at_least(f"{field}.{name}", getattr(self, name), 1)

  def reduce(
    self, parts: Sequence[pathlib.Path], context: operators.StepContext
  ) -> dict[str, Any]:
    # Imported here: workers import this module and must not import JAX.
    from curation.on_mesh import negclip, scorer

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
          scores = negclip.scores(
            batch.zimg,
            batch.ztxt,
            self.temperature,
            mesh,
            padded=int(sizes.max()),
          )
          sums.add(batch, scores)
          bar.advance(len(scores))
    return {
      "num_pairs": len(pairs),
      "num_batches": len(sizes),
      "least_batch": int(sizes.min(initial=self.batch_size)),
      "greatest_batch": int(sizes.max(initial=0)),
    }

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    state = context.state

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      sums = np.load(_path(state, left.shard.name), allow_pickle=False)
      for table in left.tables:
        index = np.searchsorted(sums["row"], table["row"].to_numpy())
        mean = sums["sum"][index] / self.num_rounds
        yield operators.Verdict(None, {self.signal: mean.astype(np.float32)})

    return decide

  def _seed(self, number: int) -> int:
    # Rounds of different seeds never share a seed: a round's number is below
    # 2^32.
    return self.seed * (1 << 32) + number


class _Sums:
  """Sums of each pair's scores, one file for each shard."""

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
      # No index is repeated: each pair is in one batch of a round.
      sums["sum"][batch.index[chosen]] += scores[chosen]


def _path(state: pathlib.Path, name: str) -> pathlib.Path:
  return state / f"sums-{name}.npy"


@dataclasses.dataclass(frozen=True)
class NormSim(embedding_store.ModelStep, operators.MeshFilter):
  """Score images by NormSim (on_mesh/normsim.py); all pairs are kept.

  Attributes:
    model: as in embedding_store.ModelStep.
    signal: name of the score, float32.
    references: images of the target task: a folder, a quoted pattern, or their
      embeddings by the same model (a .npy file [R, E], a folder of
      --task=embed).
    norm: "inf" for the largest cosine, "2" for the root of the sum of squares.
  """

  signal: str
  references: str
  norm: str

  @property
  def signals(self) -> tuple[str, ...]:
    return (self.signal,)

  def check(self, field: str) -> None:
    super().check(field)
    references.check(self.references, field)
    checks.one_of(f"{field}.norm", self.norm, NORMS)

  def files(self) -> tuple[str, ...]:
    return (*super().files(), *references.files_of(self.references))

  def open_shards(self, context: operators.StepContext) -> operators.ShardFn:
    from curation.on_mesh import normsim, scorer

    store = scorer.open_store(context, self.model)
    z_RE = references.load(context, self.model, self.references)
    targets = normsim.Targets(z_RE, self.norm, scorer.make_mesh())

    def decide(left: operators.ShardPairs) -> Iterator[operators.Verdict]:
      records = store.open(left.shard)
      for table in left.tables:
        zimg_NE = records.read(table)["zimg"]
        references.check_width(z_RE, zimg_NE.shape[1], self.references)
        scores = targets.compare(zimg_NE, _BATCH_SIZE)
        yield operators.Verdict(None, {self.signal: scores})

    return decide
