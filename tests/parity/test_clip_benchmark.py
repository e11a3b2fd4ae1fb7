"""Figures on a `wds_*` folder equal those of CLIP_benchmark's own code."""

import io
import json
import pathlib
import tarfile
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("clip_benchmark")

from clip_benchmark.metrics import (  # noqa: E402
  zeroshot_classification,
  zeroshot_retrieval,
)
from PIL import Image  # noqa: E402
from skimage import data as photos  # noqa: E402

from evaluators.sets import wds  # noqa: E402
from inference import export  # noqa: E402
from inference.evaluation import evaluate_sets  # noqa: E402
from tests import runs  # noqa: E402
from tests.inference import fresh_run  # noqa: E402
from tests.parity import test_export  # noqa: E402

# Short names, which a random model tells apart, and the classes among them
# that the images are labelled with: it predicts some of these.
CLASSES = tuple(
  a + b for a in "abcdefghijklmnopqrst" for b in ("ir", "oud", "ask", "yn", "")
)
LABELS = (3, 12, 40, 57, 82, 84)
TEMPLATES = ("{c}", "{c}!")
_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry")
NUM_IMAGES = 180


def crops() -> list[bytes]:
  """Return crops of the photos that scikit-image carries, as PNG."""
  rng = np.random.default_rng(0)
  whole = [getattr(photos, name)() for name in _PHOTOS]
  made = []
  for number in range(NUM_IMAGES):
    photo = whole[number % len(whole)]
    y, x = (int(rng.integers(0, photo.shape[axis] - 60)) for axis in (0, 1))
    buffer = io.BytesIO()
    Image.fromarray(photo[y : y + 40, x : x + 60, :3]).save(buffer, "PNG")
    made.append(buffer.getvalue())
  return made


def write_set(folder, images, suffix, texts, **files):
  """Write PNGs and their labels or captions as a `wds_*` folder."""
  (folder / "test").mkdir(parents=True)
  for name, text in files.items():
    (folder / f"{name}.txt").write_text(text)
  (folder / "test" / "nshards.txt").write_text("2")
  half = len(images) // 2
  for shard, rows in enumerate((range(half), range(half, len(images)))):
    with tarfile.open(folder / "test" / f"{shard}.tar", "w") as tar:
      for row in rows:
        for end, content in (("png", images[row]), (suffix, texts[row])):
          member = tarfile.TarInfo(f"s{row:07d}.{end}")
          member.size = len(content)
          tar.addfile(member, io.BytesIO(content))


class _Peer:
  """transformers' model, as CLIP_benchmark calls one."""

  def __init__(self, folder: pathlib.Path):
    self.model = transformers.AutoModel.from_pretrained(folder).eval()
    self.process = transformers.AutoImageProcessor.from_pretrained(folder)
    self.words = transformers.AutoTokenizer.from_pretrained(folder)
    self.num_tokens = self.model.config.text_config.max_position_embeddings

  def tokens(self, texts):
    return self.words(
      list(texts),
      padding="max_length",
      max_length=self.num_tokens,
      truncation=True,
      return_tensors="pt",
    )["input_ids"]

  def encode_text(self, tokens):
    return _pooled(self.model.get_text_features(input_ids=tokens))

  def encode_image(self, pixels):
    return _pooled(self.model.get_image_features(pixel_values=pixels))

  def pixels(self, data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return self.process(image, return_tensors="pt")["pixel_values"][0]


def _pooled(found):
  return found if torch.is_tensor(found) else found.pooler_output


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Return the folder of an exported run with random weights."""
  folder = tmp_path_factory.mktemp("model")
  config = runs.make_config(test_export.CASES["hf_siglip"])
  fresh_run.write(folder / "run", config)
  export.run(folder / "run", "hf", str(folder / "hf"))
  return folder / "hf"


def evaluate(model, root, tmp_path):
  """Return our record of a set."""
  code = evaluate_sets.run(
    str(model),
    suite="",
    names=[str(root)],
    data_root="",
    out=str(tmp_path / "out"),
    cache_dir=str(tmp_path / "cache"),
    batch_size=64,
    num_threads=2,
    as_json=True,
  )
  assert code == 0
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  return results[root.name.removeprefix("wds_")]


def test_classification(model, tmp_path):
  images, rng = crops(), np.random.default_rng(1)
  labels = rng.choice(LABELS, NUM_IMAGES)
  root = tmp_path / "wds_crops"
  write_set(
    root,
    images,
    "cls",
    [str(label).encode() for label in labels],
    **{
      wds.CLASSES[:-4]: "\n".join(CLASSES),
      wds.TEMPLATES[:-4]: "\n".join(TEMPLATES),
    },
  )
  ours = evaluate(model, root, tmp_path)
  peer = _Peer(model)
  classifier = zeroshot_classification.zero_shot_classifier(
    peer, peer.tokens, CLASSES, list(TEMPLATES), "cpu", amp=False
  )
  batches = [
    (
      torch.stack([peer.pixels(image) for image in images[start : start + 60]]),
      torch.from_numpy(labels[start : start + 60]),
    )
    for start in range(0, NUM_IMAGES, 60)
  ]
  logits, target = zeroshot_classification.run_classification(
    peer, classifier, batches, "cpu", amp=False
  )
  check(ours, logits, target)
  similarity = similarities(tmp_path, len(CLASSES), len(TEMPLATES))
  np.testing.assert_allclose(100 * similarity, logits, atol=1e-4, rtol=0)


def check(ours, logits, target):
  """Assert figures equal to those that CLIP_benchmark takes of its logits."""
  # Its own `accuracy` cannot be called with NumPy 2.4.
  best = logits.topk(5, dim=1).indices == target[:, None]
  assert ours["top_1"] == best[:, 0].double().mean().item()
  assert ours["top_5"] == best.any(dim=1).double().mean().item()
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
    balanced = zeroshot_classification.balanced_accuracy_score(
      target, logits.argmax(axis=1)
    )
  assert ours["mean_per_class"] == pytest.approx(balanced, abs=1e-9)
  assert 0.02 < ours["top_1"] < ours["top_5"] < 0.98


def similarities(tmp_path, num_classes, num_templates):
  """Return cosines of the embeddings that our evaluation has kept."""
  cache = tmp_path / "cache" / "embeddings"
  (images,) = list(cache.rglob("*.npz"))
  (texts,) = list(cache.rglob("*.npy"))
  with np.load(images) as part:
    zimg = part["zimg_NE"]
  ztxt = np.load(texts).reshape(num_classes, num_templates, -1).mean(axis=1)
  return zimg @ (ztxt / np.linalg.norm(ztxt, axis=1, keepdims=True)).T


def test_retrieval(model, tmp_path):
  images = crops()[:50]
  # Short: texts that are cut to equal tokens would be tied.
  texts = [[f"{i}{'abcde'[k]}" for k in range(1 + i % 5)] for i in range(50)]
  root = tmp_path / "wds_views"
  write_set(
    root,
    images,
    "txt",
    ["\n".join(some).encode() for some in texts],
    **{wds.TYPE[:-4]: "retrieval"},
  )
  ours = evaluate(model, root, tmp_path)
  peer = _Peer(model)
  batches = [
    (
      torch.stack([peer.pixels(image) for image in images[start : start + 25]]),
      texts[start : start + 25],
    )
    for start in (0, 25)
  ]
  theirs = zeroshot_retrieval.evaluate(
    peer, batches, peer.tokens, "cpu", amp=False, recall_k_list=[1, 5, 10]
  )
  for k in (1, 5, 10):
    for direction, name in (
      ("image_to_text", "text"),
      ("text_to_image", "image"),
    ):
      assert ours[direction][f"R@{k}"] == pytest.approx(
        theirs[f"{name}_retrieval_recall@{k}"], abs=1e-6
      )
