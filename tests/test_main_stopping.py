"""main.py's exit codes for SIGTERM and Ctrl-C, task by task.

A process sends the signal to itself, at a known point. Training's codes are in
test_main_resume.py, curation's in test_main_curate.py.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests import runs
from tests.inference import fresh_run, wds_folders
from tests.models.pretrained import goldens
from tests.models.pretrained.families import mirror

pytestmark = pytest.mark.slow

# Sends a signal after a call of MODULE.NAME has returned.
_STOP = """
import os, signal, runpy
import {module} as module
fn, calls = module.{name}, []
def stop(*args, **kwargs):
  result = fn(*args, **kwargs)
  calls.append(args)
  if len(calls) == {calls}:
    os.kill(os.getpid(), signal.{signal})
  return result
module.{name} = stop
runpy.run_path('main.py', run_name='__main__')
"""


def _run(*args, stop="", signal="SIGTERM", calls=2):
  code = ["main.py"]
  if stop:
    module, _, name = stop.rpartition(".")
    names = {"module": module, "name": name, "signal": signal, "calls": calls}
    code = ["-c", _STOP.format_map(names)]
  return subprocess.run(
    (sys.executable, *code, *args),
    cwd=runs.ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
    capture_output=True,
    text=True,
  )


def _assert_stopped(done, code, line):
  assert (done.returncode, done.stdout) == (code, ""), done.stderr
  assert done.stderr.splitlines()[-1] == line
  assert "Traceback" not in done.stderr


_RESUMES = "ended; finished work is kept, the same command resumes from it"


@pytest.fixture
def table(tmp_path):
  """Return a folder of 8 images with captions."""
  folder = tmp_path / "pairs"
  folder.mkdir()
  lines = []
  for i in range(8):
    image = np.full((8, 8, 3), 30 * i, np.uint8)
    Image.fromarray(image).save(folder / f"{i}.png")
    lines.append(json.dumps({"file_name": f"{i}.png", "text": f"no. {i}"}))
  (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
  return folder


def _prepare(table, out):
  return (
    *("--task=prepare", "--config=configs/quickstart.py", f"--out={out}"),
    *("--num_workers=0", "--shard_examples=2"),
    "--config.data.sources.main.format=table",
    f"--config.data.sources.main.path={table}",
    "--config.data.sources.main.split=",
  )


def _files(folder: pathlib.Path):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


@pytest.mark.parametrize(("signal", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_prepare_keeps_shards(signal, code, table, tmp_path):
  flags = _prepare(table, tmp_path / "out")
  stop = "input_pipeline.preparing.shard_writer.write"
  done = _run(*flags, stop=stop, signal=signal)
  _assert_stopped(done, code, f"{signal}: {_RESUMES}")
  assert len(list((tmp_path / "out").glob("*/*.array_record*"))) >= 2
  done = _run(*flags)
  assert done.returncode == 0, done.stderr
  done = _run(*_prepare(table, tmp_path / "whole"))
  assert done.returncode == 0, done.stderr
  assert _files(tmp_path / "out") == _files(tmp_path / "whole")


def test_prepare_before_anything_is_kept(table, tmp_path):
  flags = _prepare(table, tmp_path / "out")
  done = _run(*flags, stop="input_pipeline.pipeline.open_sources", calls=1)
  _assert_stopped(done, 143, "SIGTERM: ended; nothing was saved")
  assert not (tmp_path / "out").exists()


def test_metadata_keeps_counts(tmp_path):
  for name in "ab":
    (tmp_path / f"{name}.txt").write_text(f"a word of {name}\n" * 3)
  flags = (
    *("--task=metadata", "--engine=inline", f"--out={tmp_path / 'out'}"),
    "--config=configs/curate/metadata.py:mini",
    "--config.languages.en.corpus.format=text",
    f"--config.languages.en.corpus.path={tmp_path}/?.txt",
    "--config.languages.en.unigrams.source=corpus",
    "--config.languages.en.bigrams.scorer=",
  )
  done = _run(*flags, stop="curation.metadata.counting._count_texts", calls=1)
  _assert_stopped(done, 75, f"SIGTERM: {_RESUMES}")
  assert not (tmp_path / "out").exists()
  done = _run(*flags)
  assert done.returncode == 0, done.stderr
  assert "Counting words (en), MB: 0/0" in done.stderr  # none again
  entries = (tmp_path / "out" / "en.txt").read_text().split()[-3:]
  assert sorted(entries) == ["a", "of", "word"]


def test_embed_goes_on(tmp_path):
  found, arrays = goldens.read(goldens.FOLDER / "hf_clip.npz")
  (tmp_path / "clip").mkdir()
  mirror.write_source(tmp_path / "clip", found)
  for i, image in enumerate(arrays["images"]):
    Image.fromarray(image).save(tmp_path / f"{i}.png")
  flags = (
    *("--task=embed", f"--init_from={tmp_path / 'clip'}"),
    *(f"--images={tmp_path}/*.png", f"--out={tmp_path / 'out'}"),
  )
  done = _run(
    *flags, stop="inference.embeddings.jobs._fill", signal="SIGUSR1", calls=1
  )
  _assert_stopped(done, 75, f"SIGUSR1: {_RESUMES}")
  assert not (tmp_path / "out" / "embed.json").exists()
  done = _run(*flags)
  assert done.returncode == 0, done.stderr
  zimg = np.load(tmp_path / "out" / "images.npy")
  # Equal to transformers' results but for the order of float32 sums.
  np.testing.assert_allclose(zimg, arrays["zimg"], atol=2e-5)


def test_results_of_an_evaluation_are_whole_or_not_there(tmp_path):
  fresh_run.write(tmp_path / "run", runs.make_config({}))
  wds_folders.classification(tmp_path / "beasts", [i % 3 for i in range(9)])
  done = _run(
    *("--task=evaluate", f"--workdir={tmp_path / 'run'}"),
    *(f"--sets={tmp_path / 'beasts'}", f"--out={tmp_path / 'out'}"),
    f"--cache_dir={tmp_path / 'cache'}",
    stop="evaluators.figures.set_figures.evaluate",
    signal="SIGUSR1",
    calls=1,
  )
  _assert_stopped(done, 143, "SIGUSR1: ended; nothing was saved")
  assert not (tmp_path / "out" / "results.json").exists()


def test_a_page_is_not_kept(table, tmp_path):
  """A task that does not resume; Ctrl-C prints a line, no traceback."""
  flags = (
    *("--task=inspect-data", "--config=configs/quickstart.py"),
    f"--out={tmp_path / 'page.html'}",
    *_prepare(table, "")[-3:],  # the source
  )
  stop = "input_pipeline.images.image_ops.decode"
  for signal, code in (("SIGTERM", 143), ("SIGINT", 130)):
    done = _run(*flags, stop=stop, signal=signal)
    _assert_stopped(done, code, f"{signal}: ended; nothing was saved")
