"""Figures of open_clip's models equal those of CLIP_benchmark, end to end.

Both read the same model's folder and the same `wds_*` folder: CLIP_benchmark
with its own loader, open_clip's transform and tokenizer, without AMP.
"""

import contextlib
import gc
import io
import json
import pathlib
import shutil
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("clip_benchmark")
pytest.importorskip("webdataset")

import open_clip  # noqa: E402
from clip_benchmark.datasets import builder  # noqa: E402
from clip_benchmark.metrics import (  # noqa: E402
  zeroshot_classification,
  zeroshot_retrieval,
)
from PIL import Image  # noqa: E402
from safetensors import numpy as safetensors_numpy  # noqa: E402
from skimage import data as photos  # noqa: E402

from evaluators.sets import wds  # noqa: E402
from inference import export  # noqa: E402
from tests import runs  # noqa: E402
from tests.inference import fresh_run  # noqa: E402
from tests.parity import test_clip_benchmark, test_export  # noqa: E402
from tests.parity.makers import golden_open_clip, published  # noqa: E402

_CLASSES = test_clip_benchmark.CLASSES[:40]
_TEMPLATES = ("{c}", "a photo of {c}.")
# CLIP's, which open_clip has in its package.
_VOCABULARY = (
  pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
)
# Number of classes among which an image's label is, by the model's own scores:
# a random model is then right for one in ten, and has one in two in its best 5.
_NUM_LIKELY = 10


def _small(name):
  """Return a model of golden_open_clip with CLIP's vocabulary."""
  model_cfg = golden_open_clip.config(name)
  sizes = {"vocab_size": 49_408, "context_length": 12}
  for part in ("text_cfg", "multimodal_cfg"):
    if part in model_cfg:
      model_cfg[part] = model_cfg[part] | sizes
  return golden_open_clip.make(model_cfg), model_cfg


def _full_size(name):
  torch.manual_seed(0)
  return open_clip.create_model(name), open_clip.get_model_config(name)


def _write(folder, model, model_cfg):
  folder.mkdir()
  pixels = {"mean": published.MEAN, "std": published.STD}
  shutil.copy(_VOCABULARY, folder)
  (folder / "open_clip_config.json").write_text(
    json.dumps({"model_cfg": model_cfg, "preprocess_cfg": pixels})
  )
  safetensors_numpy.save_file(
    {k: v.copy() for k, v in published.tensors(model).items()},
    folder / "open_clip_model.safetensors",
  )


def _write_run(folder):
  config = runs.make_config(test_export.CASES["hf_siglip"])
  fresh_run.write(folder.parent / "run", config, bias=-9.5)
  export.run(folder.parent / "run", "open_clip", str(folder))


# Name -> function that writes the model's folder.
_MODELS = {
  "CLIP": lambda folder: _write(folder, *_small("vit")),
  "CoCa": lambda folder: _write(folder, *_small("coca")),
  "SigLIP": _write_run,
  "ViT-B-32": lambda folder: _write(folder, *_full_size("ViT-B-32")),
}
_SLOW = pytest.param("ViT-B-32", marks=pytest.mark.slow)


@contextlib.contextmanager
def _without_warnings():
  """Hide webdataset's: of an option that is not set, and of files left open."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "WebDataset.shardshuffle")
    warnings.simplefilter("ignore", ResourceWarning)
    yield
    gc.collect()


class _Peer:
  """open_clip's model, as CLIP_benchmark loads one, and its loader."""

  def __init__(self, folder):
    name = f"local-dir:{folder}"
    model, _, self.transform = open_clip.create_model_and_transforms(name)
    self.model = model.eval()
    self.words = open_clip.get_tokenizer(name)
    self.classifier = zeroshot_classification.zero_shot_classifier(
      self.model, self.words, _CLASSES, list(_TEMPLATES), "cpu", amp=False
    )

  def logits(self, root):
    """Return logits and labels of a set, read by CLIP_benchmark."""
    with _without_warnings():
      return zeroshot_classification.run_classification(
        self.model, self.classifier, self.batches(root), "cpu", amp=False
      )

  def batches(self, root):
    dataset = builder.build_wds_dataset(
      root.name, self.transform, data_dir=str(root)
    )
    return torch.utils.data.DataLoader(dataset.batched(20), batch_size=None)

  def labels(self, images):
    """Return the class at a random place among the likeliest, by image."""
    pixels = torch.stack(
      [self.transform(Image.open(io.BytesIO(image))) for image in images]
    )
    with torch.no_grad():
      scores = torch.nn.functional.normalize(self.model.encode_image(pixels))
      order = (scores @ self.classifier).argsort(dim=1, descending=True)
    places = np.random.default_rng(1).integers(0, _NUM_LIKELY, len(images))
    return order[torch.arange(len(images)), torch.from_numpy(places)].numpy()


def _small_images(count):
  """Return crops of photos of 40 pixels, and of 32 as those of CIFAR."""
  crops = test_clip_benchmark.crops()[:count]
  for number in range(0, count, 2):
    image = Image.open(io.BytesIO(crops[number])).resize((32, 32))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    crops[number] = buffer.getvalue()
  return crops


def _whole_photos():
  encoded = []
  for name in ("astronaut", "chelsea", "coffee", "rocket"):
    photo = Image.fromarray(getattr(photos, name)())
    for box in ((0, 0, 300, 300), (50, 20, 400, 270)):
      buffer = io.BytesIO()
      photo.crop(box).save(buffer, "PNG")
      encoded.append(buffer.getvalue())
  return encoded + _small_images(16)


@pytest.fixture(scope="module", params=["CLIP", "CoCa", "SigLIP", _SLOW])
def model(request, tmp_path_factory):
  """Return a model's folder, CLIP_benchmark's model of it, and images."""
  folder = tmp_path_factory.mktemp("models") / "model"
  _MODELS[request.param](folder)
  is_small = request.param != "ViT-B-32"
  images = _small_images(120) if is_small else _whole_photos()
  return folder, _Peer(folder), images


def test_classification(model, tmp_path):
  folder, peer, images = model
  root = tmp_path / "wds_crops"
  test_clip_benchmark.write_set(
    root,
    images,
    "cls",
    [str(label).encode() for label in peer.labels(images)],
    **{
      wds.CLASSES[:-4]: "\n".join(_CLASSES),
      wds.TEMPLATES[:-4]: "\n".join(_TEMPLATES),
    },
  )
  ours = test_clip_benchmark.evaluate(folder, root, tmp_path)
  logits, target = peer.logits(root)
  test_clip_benchmark.check(ours, logits, target)
  similarity = test_clip_benchmark.similarities(
    tmp_path, len(_CLASSES), len(_TEMPLATES)
  )
  difference = np.abs(100 * similarity - logits.numpy()).max()
  print(difference)
  assert difference < 1e-4


def test_retrieval(model, tmp_path):
  folder, peer, images = model
  texts = [[f"{i} {'abcde'[k]}" for k in range(1 + i % 5)] for i in range(20)]
  root = tmp_path / "wds_views"
  test_clip_benchmark.write_set(
    root,
    images[:20],
    "txt",
    ["\n".join(captions).encode() for captions in texts],
    **{wds.TYPE[:-4]: "retrieval"},
  )
  ours = test_clip_benchmark.evaluate(folder, root, tmp_path)
  with _without_warnings():
    theirs = zeroshot_retrieval.evaluate(
      peer.model,
      peer.batches(root),
      peer.words,
      "cpu",
      amp=False,
      recall_k_list=[1, 5, 10],
    )
  for k in (1, 5, 10):
    for direction, name in (
      ("image_to_text", "text"),
      ("text_to_image", "image"),
    ):
      assert ours[direction][f"R@{k}"] == pytest.approx(
        theirs[f"{name}_retrieval_recall@{k}"], abs=1e-6
      )
