"""Texts and boxes by the decoder of a served run, one request at a time."""

import threading
from typing import Any

import numpy as np

from evaluators import row_batches
from evaluators.generating import captioner, settings
from inference import python_model
from inference.serving import fields
from input_pipeline.regions import box_tokens

# Wait for the text of another request, in seconds, before one is refused.
_PATIENCE = 20.0
# Task -> noun for what is written.
_NOUNS = {box_tokens.CAPTION: "captions", box_tokens.REFERRING: "boxes"}


class Writer:
  """Decoder beside a served model, which may have none.

  Attributes:
    captioner: decoder with its model; None where there is none.
  """

  def __init__(self, model: python_model.Model):
    """Read the decoder of a run; other models have none."""
    self.captioner: captioner.Captioner | None = None
    if model.has_decoder:
      # A text takes the time of a whole batch, which is one picture here.
      own = model.captioner.decoder
      self.captioner = captioner.Captioner(model.loaded, own, 1)
    self._writing = threading.Semaphore(1)

  @property
  def tasks(self) -> tuple[str, ...]:
    """Tasks that requests may ask for, of box_tokens.TASKS."""
    tasks = () if self.captioner is None else self.captioner.tasks
    return tuple(task for task in tasks if task in _NOUNS)

  def facts(self) -> dict[str, Any] | None:
    """Return facts for /v1/info; None without a decoder."""
    if self.captioner is None:
      return None
    return {
      "digest": self.captioner.digest,
      "tasks": [*self.tasks],
      "num_tokens": self.captioner.decoder.num_tokens,
    }

  def warm(self, row: row_batches.Row) -> None:
    """Compile the program, which is one for all tasks."""
    if box_tokens.CAPTION in self.tasks:
      self.caption(row)
    else:
      self.box(row, "a")

  def check(self, task: str) -> None:
    """Raise RequestError where the model has no decoder of a task."""
    if self.captioner is None:
      raise fields.RequestError(
        409,
        "there is no decoder, which writes texts: serve a run that was trained"
        " with config.decoding.weight, or config.captioning.weight, above 0",
      )
    if task not in self.tasks:
      raise fields.RequestError(
        409,
        f"the decoder writes no {_NOUNS[task]}: its tasks are"
        f" {', '.join(self.tasks) or 'none'}",
      )

  def caption(self, row: row_batches.Row) -> captioner.Caption:
    """Return the caption of a picture; RequestError where others wait."""
    own = self._own
    return own.caption_of(self._written(own.captioning(row)))

  def box(self, row: row_batches.Row, text: str) -> np.ndarray | None:
    """Return the box of a text in shares of what the model sees, or None."""
    own = self._own
    return own.box_of(self._written(own.referring(row, text)))

  @property
  def _own(self) -> captioner.Captioner:
    assert self.captioner is not None  # `check` refused the request
    return self.captioner

  def _written(self, request: captioner.Request) -> captioner.Written:
    if not self._writing.acquire(timeout=_PATIENCE):
      raise fields.RequestError(
        429, "other texts are being written; try again", retry_after=5
      )
    try:
      ((written,),) = self._own.stream(iter([request]), settings.Settings())
    finally:
      self._writing.release()
    return written
