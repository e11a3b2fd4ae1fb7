"""Runs of tests/tiny_questions.py that one process makes before main.py's.

A process of its own would import for each of them, and trace, for 15 seconds.
"""

import os
import pathlib
import signal
import types
from typing import Any
from unittest import mock

import ml_collections

from tests import tiny_questions
from training import config as config_lib
from training import session
from training.vqa import pretraining, run

AUTOENCODER, UNDISTURBED, STOPPED = "autoencoder", "undisturbed", "stopped"
# Updates before SIGTERM, of 4: the second epoch has made one of its two.
STOP_AFTER = 3


def before_main(root: pathlib.Path) -> None:
  """Train an autoencoder, a run that reads it, and the same until SIGTERM.

  Args:
    root: folder with a set of fixture.write_rad in rad/; runs are made in it.
  """
  config = tiny_questions.get_config("autoencoder")
  config.data.sources.main.path = str(root / "rad/captions.jsonl")
  config.data.cache_dir = str(root / "cache")
  assert _run(pretraining, config, root / AUTOENCODER) == 0
  config = tiny_questions.get_config()
  config.vqa.path = str(root / "rad")
  config.vqa.autoencoder_from = str(root / AUTOENCODER)
  assert _run(run, config, root / UNDISTURBED) == 0
  fetched: list[Any] = []
  fetch = session.Session.fetch

  def fetch_and_stop(self: session.Session, last_metrics: Any) -> Any:
    fetched.append(last_metrics)
    if len(fetched) == STOP_AFTER:
      os.kill(os.getpid(), signal.SIGTERM)
    return fetch(self, last_metrics)

  with mock.patch.object(session.Session, "fetch", fetch_and_stop):
    print("Exit code:", _run(run, config, root / STOPPED))


def _run(
  kind: types.ModuleType,
  values: ml_collections.ConfigDict,
  folder: pathlib.Path,
) -> int:
  config = config_lib.checked(
    values.to_dict(), lambda config: kind.check(config, folder)
  )
  return kind.run(config, folder)
