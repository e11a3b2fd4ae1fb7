"""A served model of tests, with a gallery of twelve pictures."""

import numpy as np
import pytest
from PIL import Image
from starlette import testclient

import inference
from inference.embeddings import embed
from inference.indexing import build, index_folder
from inference.searching import galleries
from inference.serving import app, gate, service
from tests import runs
from tests.inference import fresh_run
from tests.inference.evaluation import referring_runs
from tests.inference.generating import decoder_runs
from training import config as config_lib

URL = "http://127.0.0.1:8000"


def write_pictures(folder, num=12):
  """Write pictures of one colour each; return their files."""
  folder.mkdir()
  for n in range(num):
    pixels = np.random.default_rng(n).integers(0, 256, 3, np.uint8)
    Image.new("RGB", (60 + n, 50), tuple(pixels.tolist())).save(
      folder / f"{n:02d}.png"
    )
  return sorted(folder.iterdir())


@pytest.fixture(scope="package")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("served") / "run"
  fresh_run.write(folder, runs.make_config())
  return folder


@pytest.fixture(scope="package")
def speaking(tmp_path_factory):
  """Return a run whose decoder writes "fox", and a box for three ids."""
  folder = tmp_path_factory.mktemp("speaking")
  config = config_lib.checked(referring_runs.make_values(folder).to_dict())
  vocabulary = config.data.regions.vocabulary(config.data.vocab_size)
  box = vocabulary.box_ids(np.array([0, 0, 4 / 7, 4 / 7])).tolist()
  script = [*(byte + 2 for byte in b"fox"), *box, 1]
  decoder_runs.write(folder / "run", config, script)
  return folder / "run"


@pytest.fixture(scope="package")
def files(tmp_path_factory):
  return write_pictures(tmp_path_factory.mktemp("gallery") / "photos")


@pytest.fixture(scope="package")
def index(run, files, tmp_path_factory):
  out = tmp_path_factory.mktemp("index") / "index"
  wanted = embed.Wanted(
    images=str(files[0].parent), texts="", out=out, dtype="float32"
  )
  build.run(str(run), wanted)
  return out


@pytest.fixture(scope="package")
def model(run):
  return inference.Model.load(run, batch_size=8)


@pytest.fixture(scope="package")
def gallery(index):
  return galleries.Indexed(index_folder.read(index))


@pytest.fixture(scope="package")
def served(model, gallery):
  about = {"kind": "index", "name": "index", "has_thumbnails": True}
  return service.Service(model, gallery, about)


@pytest.fixture(scope="package")
def gated(served):
  """Return the application, behind its gate."""
  return app.make_app(
    app.State("Ready", served),
    gate.Limits(num_bytes=200_000, body_seconds=0.3),
  )


@pytest.fixture(scope="package")
def client(gated):
  with testclient.TestClient(gated, base_url=URL) as made:
    yield made
