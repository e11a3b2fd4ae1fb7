"""Section `config.fusion`: a model in which images or videos meet texts."""

import dataclasses
import types
from collections.abc import Mapping

from models.fusion import clipbert as clipbert_lib
from models.fusion import co_attention, grid
from runtime import checks, marks

PRETRAINING, RETRIEVAL, ANSWERS, CHOICES, VQA = (
  "pretraining",
  "retrieval",
  "answers",
  "choices",
  "vqa",
)
# Kind of model -> tasks that it is trained for; "" is a dual encoder.
TASKS: Mapping[str, tuple[str, ...]] = types.MappingProxyType(
  {
    "": (PRETRAINING,),
    "clipbert": (PRETRAINING, RETRIEVAL, ANSWERS, CHOICES, VQA),
    "meter": (PRETRAINING, VQA),
  }
)


@dataclasses.dataclass(frozen=True)
class FusionConfig:
  """Fields of `config.fusion`; configs/parts/fusion.py explains them."""

  kind: marks.Fixed[str] = ""
  task: marks.Fixed[str] = PRETRAINING
  aggregate: marks.Fixed[str] = "lse"
  num_answers: marks.Fixed[int] = 0
  num_choices: marks.Fixed[int] = 5
  test_clips: marks.Free[int] = 0
  pair_block: marks.Free[int] = 512
  num_labels: marks.Fixed[int] = 10
  num_negatives: marks.Training[int] = 1
  negative_share: marks.Training[float] = 0.5
  mask_share: marks.Training[float] = 0.15
  mask_id: marks.Fixed[int] = 103
  kept_ids: marks.Fixed[tuple[int, ...]] = (0, 100, 101, 102)
  cnn: grid.GridConfig = grid.GridConfig()
  clipbert: clipbert_lib.ClipBertConfig = clipbert_lib.ClipBertConfig()
  meter: co_attention.CoAttentionConfig = co_attention.CoAttentionConfig()

  @property
  def has_matching(self) -> bool:
    """Whether texts of other rows are a row's negatives."""
    return self.task in (PRETRAINING, RETRIEVAL)

  @property
  def reads_images(self) -> bool:
    """Whether a row has one image and not the clips of a video."""
    return self.task in (PRETRAINING, VQA)

  @property
  def num_out(self) -> int:
    """Outputs of the answers' head; 0 for the heads of pre-training."""
    return {PRETRAINING: 0, RETRIEVAL: 2, CHOICES: 1}.get(
      self.task, self.num_answers
    )

  @checks.collected()
  def check(self, image_size: int, batch_size: int) -> None:
    """Raise ValueError, naming the field, where a value cannot be used.

    Args:
      image_size: data.image_size.
      batch_size: of the config.
    """
    checks.one_of("fusion.kind", self.kind, TASKS)
    if self.kind not in TASKS or not self.kind:
      return
    if self.task not in TASKS[self.kind]:
      checks.refuse(
        f"fusion.task must be one of {', '.join(TASKS[self.kind])} with"
        f" fusion.kind={self.kind!r}; got {self.task!r}"
      )
    checks.at_least("fusion.test_clips", self.test_clips, 0)
    checks.at_least("fusion.pair_block", self.pair_block, 1)
    checks.at_least("fusion.num_labels", self.num_labels, 1)
    checks.at_least("fusion.num_choices", self.num_choices, 2)
    checks.at_least("fusion.num_negatives", self.num_negatives, 0)
    if self.task in (ANSWERS, VQA):
      checks.at_least("fusion.num_answers", self.num_answers, 2)
    if self.has_matching and batch_size < 2:
      checks.refuse(
        "batch_size must be at least 2, since the texts of other rows are a"
        f" row's negatives with fusion.task={self.task!r}; got {batch_size}"
      )
    for field in ("negative_share", "mask_share"):
      checks.in_range(f"fusion.{field}", getattr(self, field), 0, 1)
    if self.mask_id in self.kept_ids:
      checks.refuse(
        "fusion.kept_ids must not have fusion.mask_id; got"
        f" {self.kept_ids} and {self.mask_id}"
      )
    if self.kind == "clipbert":
      self.cnn.check()
      self.clipbert.check(image_size)
    else:
      self.meter.check()
