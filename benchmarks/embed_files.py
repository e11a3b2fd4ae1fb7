"""Speed of embedding JPEG files on the CPU, beside open_clip.

  python -m benchmarks.embed_files --peer_python=.venv-peer/bin/python

benchmarks/train_step.py explains how to make the peer's environment. Both have
CLIP ViT-B/32 with random weights in float32 and all cores that the process may
use, and go from files to L2-normalised embeddings: ours by
inference.Model.stream_images, the peer by its own transform in a DataLoader of
two workers and encode_image. They take turns, all files in a turn, forwards and
backwards in alternation; the ratio is the median of the rounds' ratios, above 1
if ours is faster. `decode` is our time for the same files without the tower,
`tower` that of the tower without the files.
"""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import photos, rounds
from configs import clip
from evaluators import row_batches
from inference import model as model_lib
from inference import python_model, read_ahead
from input_pipeline.images import image_ops, image_protocols
from models import dual_encoder
from runtime import mesh as mesh_lib
from training import config as config_lib

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python", None, "Interpreter of the peer's environment."
)
_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Rounds; each contestant embeds all files once a round.", 1
)
_FILES = flags.DEFINE_integer("files", 256, "Number of JPEG files.", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images of a batch.", 1)
_WIDTH = flags.DEFINE_integer("width", 500, "Width of the photographs.", 1)
_PHOTOS = flags.DEFINE_string(
  "photos", "", "Folder of photographs; by default those of scikit-image."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object.")

_PEER_MODEL = "ViT-B-32-quickgelu"
_PEER_WORKERS = 2


def make_model(batch_size: int) -> python_model.Model:
  """Return CLIP ViT-B/32 with random weights, as a loaded model."""
  config = config_lib.checked(clip.get_config("vit_b32").to_dict()).model
  config = dataclasses.replace(
    config, dtype="float32", remat="none", remat_chunks=1
  )
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig(-1, 1, 1))
  params = dual_encoder.init_params(config, jax.random.key(0))
  assert config.image is not None
  protocol = image_protocols.PROTOCOLS["clip"].at(config.image.image_size)

  return python_model.Model(
    model_lib.Model(
      path="benchmark",
      family="hf_clip",
      config=config,
      params=jax.device_put(params, mesh_lib.replicated(mesh)),
      mesh=mesh,
      make_image_protocol=lambda: protocol,
      make_tokenizer=lambda: None,  # pyrefly: ignore[bad-argument-type]
      loss="softmax",
    ),
    batch_size,
  )


def write_files(folder: pathlib.Path, num: int, width: int) -> list[str]:
  """Write JPEG photographs of about 4:3; return their paths."""
  pictures = photos.read(_PHOTOS.value)
  rng = np.random.default_rng(0)
  paths = []
  for n in range(num):
    path = folder / f"{n:05}.jpg"
    path.write_bytes(photos.picture(pictures, (width, width * 3 // 4), rng))
    paths.append(str(path))
  return paths


def _timed(fn) -> rounds.Timed:
  def timed() -> float:
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start

  timed()
  return timed


def run(
  folder: pathlib.Path, *, num_files: int, width: int, batch_size: int
) -> dict:
  """Return the row of the table."""
  paths = write_files(folder, num_files, width)
  model = make_model(batch_size)
  protocol = model.image_protocol
  tower_config = model.loaded.config.image
  assert tower_config is not None
  size = tower_config.image_size
  pixels = np.zeros((batch_size, size, size, 3), np.uint8)
  embedder = model.loaded.make_embedder(batch_size)
  num_batches = -(-num_files // batch_size)

  def embed() -> None:
    rows = sum(len(z) for z in model.stream_images(paths))
    assert rows == num_files

  def decode() -> None:
    def one(path: str) -> row_batches.Row:
      data = pathlib.Path(path).read_bytes()
      return protocol.apply(image_ops.decode(data))

    with read_ahead.mapped(one, iter(paths), 2 * batch_size) as found:
      assert sum(1 for _ in found) == num_files

  def tower() -> None:
    batches = (pixels for _ in range(num_batches))
    for _ in embedder.stream(
      embedder.images_fn, model.loaded.params, batches, "image"
    ):
      pass

  with contextlib.ExitStack() as stack:
    runners = {
      "ours": _timed(embed),
      "decode": _timed(decode),
      "tower": _timed(tower),
      "matmul": rounds.make_matmul(),
    }
    if _PEER_PYTHON.value:
      runners["open_clip"] = stack.enter_context(
        rounds.peer(
          _PEER_PYTHON.value,
          "embed_files_open_clip.py",
          f"--model={_PEER_MODEL}",
          f"--folder={folder}",
          f"--batch_size={batch_size}",
          f"--num_workers={_PEER_WORKERS}",
        )
      )
    seconds = rounds.measure(runners, _ROUNDS.value)
  row: dict[str, float | None] = {
    f"{who}_images_per_s": num_files / statistics.median(taken)
    for who, taken in seconds.items()
    if who != "matmul"
  }
  row["matmul_gflops"] = rounds.MATMUL_GFLOP / statistics.median(
    seconds["matmul"]
  )
  # None if there is no peer.
  row["ratio"] = (
    statistics.median(
      theirs / ours
      for ours, theirs in zip(
        seconds["ours"], seconds["open_clip"], strict=True
      )
    )
    if "open_clip" in seconds
    else None
  )
  return row


def main(argv: Sequence[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  with tempfile.TemporaryDirectory() as folder:
    row = run(
      pathlib.Path(folder),
      num_files=_FILES.value,
      width=_WIDTH.value,
      batch_size=_BATCH_SIZE.value,
    )
  if _JSON.value:
    print(json.dumps(row))
    return
  for name, value in row.items():
    shown = "no --peer_python" if value is None else f"{value:.3g}"
    print(f"{name:24} {shown:>10}")


if __name__ == "__main__":
  app.run(main)
