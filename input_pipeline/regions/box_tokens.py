"""Tokens of boxes and tasks, behind those of a tokenizer's vocabulary.

A box is (left, top, right, bottom) in shares of the image, 0 to 1.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

# Caption of the image; box of a caption; caption of a box.
CAPTION, REFERRING, GROUNDED = TASKS = ("caption", "referring", "grounded")
# Answer to a question about the image, of a run with data.regions.answers.
ANSWER = "answer"
# Order of a box's tokens -> places of (left, top, right, bottom).
ORDERS: Mapping[str, tuple[int, int, int, int]] = {
  "yxyx": (1, 0, 3, 2),
  "xyxy": (0, 1, 2, 3),
}
# Tokens of a box.
NUM_SIDES = 4


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Ids that a decoder reads and predicts.

  0 to num_text - 1 are those of the tokenizer, the next `num_bins` places in an
  image, from its left or top to its right or bottom, and the last ones TASKS,
  then ANSWER where there are questions.
  All four sides of a box share the bins. Neither paper says where these ids
  lie: the order is ours.

  Attributes:
    num_text: entries of the tokenizer's vocabulary (data.vocab_size).
    num_bins: places that a side of a box is rounded to, at least 2.
    order: key of ORDERS.
    has_answers: whether ANSWER is a task.
  """

  num_text: int
  num_bins: int
  order: str = "yxyx"
  has_answers: bool = False

  @property
  def tasks(self) -> tuple[str, ...]:
    """Return the tasks in the order of their ids."""
    return (*TASKS, ANSWER) if self.has_answers else TASKS

  @property
  def size(self) -> int:
    """Return the number of ids."""
    return self.num_text + self.num_bins + len(self.tasks)

  def task_id(self, task: str) -> int:
    """Return the id of one of `tasks`."""
    return self.num_text + self.num_bins + self.tasks.index(task)

  def box_ids(self, box_M4: np.ndarray) -> np.ndarray:
    """Return the ids of boxes, int32 [..., 4], in the vocabulary's order.

    Bin i is the share i / (num_bins - 1), so that an edge of the image is kept
    as it is, and another place moves by at most half a bin.

    Args:
      box_M4: shares of the image, [..., 4].

    Raises:
      ValueError: a share is not finite, or outside of 0 to 1.

    >>> Vocabulary(100, 11).box_ids(np.array([0.0, 0.22, 1.0, 0.5]))
    array([102, 100, 105, 110], dtype=int32)
    """
    box_M4 = np.asarray(box_M4, np.float64)
    if not ((box_M4 >= 0) & (box_M4 <= 1)).all():  # nor is NaN
      raise ValueError(
        f"a box must have shares of 0 to 1; got {box_M4.tolist()}"
      )
    # floor(x + 0.5), not rint: half a bin goes up everywhere.
    bin_M4 = np.floor(box_M4 * (self.num_bins - 1) + 0.5).astype(np.int32)
    return self.num_text + bin_M4[..., list(ORDERS[self.order])]

  def boxes(self, id_M4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes of ids, float64 [..., 4], and which are boxes, bool.

    Ids are no box where one of them is none of a bin, or where the right side
    is left of the left one or the bottom above the top: such a box is zeros.
    Sides may share a bin: the box has then no area, and meets nothing.

    Args:
      id_M4: ids in the vocabulary's order, as a decoder generates them.

    >>> ids = np.array([[102, 100, 105, 110], [7, 1, 2, 3]])
    >>> Vocabulary(100, 11).boxes(ids)
    (array([[0. , 0.2, 1. , 0.5],
           [0. , 0. , 0. , 0. ]]), array([ True, False]))
    """
    order = ORDERS[self.order]
    bin_M4 = np.asarray(id_M4)[..., np.argsort(order)] - self.num_text
    box_M4 = bin_M4 / (self.num_bins - 1)
    is_bin_M4 = (bin_M4 >= 0) & (bin_M4 < self.num_bins)
    is_order_M2 = bin_M4[..., :2] <= bin_M4[..., 2:]
    is_box_M = np.asarray(is_bin_M4.all(axis=-1) & is_order_M2.all(axis=-1))
    return np.where(is_box_M[..., None], box_M4, 0.0), is_box_M

  def name(self, id: int) -> str:
    """Return the name of an id for people; "" for one of text.

    >>> Vocabulary(100, 11).name(104), Vocabulary(100, 11).name(111)
    ('bin 4', 'caption')
    """
    place = id - self.num_text
    if place < 0 or id >= self.size:
      return ""
    if place < self.num_bins:
      return f"bin {place}"
    return self.tasks[place - self.num_bins]
