"""Pixel statistics that a preprocessor_config.json amounts to."""

import json

import numpy as np
import pytest

from models.pretrained import pixels


@pytest.mark.parametrize(
  ("processor", "first", "last"),
  [
    # The published EfficientNets' (mean 0.485, deviation 0.229) and ALIGN's.
    (
      {
        "image_processor_type": "EfficientNetImageProcessor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.47853944, 0.4732864, 0.47434163],
      },
      (0.485, 0.229),
      (0.406, 0.225),
    ),
    (
      {
        "rescale_factor": 1 / 127.5,
        "rescale_offset": True,
        "do_normalize": False,
        "include_top": False,
      },
      (0.5, 0.5),
      (0.5, 0.5),
    ),
  ],
)
def test_a_processor_is_one_mean_and_deviation(processor, first, last):
  mean, std = pixels.statistics(processor)
  np.testing.assert_allclose((mean[0], std[0]), first, rtol=1e-6)
  np.testing.assert_allclose((mean[2], std[2]), last, rtol=1e-6)


_CLIP = {
  "image_processor_type": "CLIPImageProcessorFast",
  "size": {"shortest_edge": 224},
  "image_mean": [0.1, 0.2, 0.3],
}


def _folder(folder, old=None, new=None):
  for name, fields in (
    ("preprocessor_config.json", old),
    ("processor_config.json", new),
  ):
    if fields is not None:
      (folder / name).write_text(json.dumps(fields))
  return pixels.read_processor(folder)


@pytest.mark.parametrize(
  ("old", "new", "name", "mean"),
  [
    (None, None, "", None),
    (_CLIP, None, "preprocessor_config.json", 0.1),
    (None, {"image_processor": _CLIP}, "processor_config.json", 0.1),
    (None, _CLIP, "processor_config.json", 0.1),
    # As in transformers, a section counts first, and other fields do not count.
    (
      _CLIP | {"image_mean": [0.9] * 3},
      {"image_processor": _CLIP},
      "processor_config.json",
      0.1,
    ),
    (_CLIP, _CLIP | {"image_mean": [0.9] * 3}, "preprocessor_config.json", 0.1),
    (_CLIP, {"processor_class": "X"}, "preprocessor_config.json", 0.1),
  ],
)
def test_a_processor_is_in_one_of_two_files(old, new, name, mean, tmp_path):
  got = _folder(tmp_path, old, new)
  assert got.name == name
  assert got.fields.get("image_mean", [None])[0] == mean
  assert bool(got.differing) == ("0.9" in str((old, new)))
  if got.differing:
    assert got.differing == {"image_mean": ([0.1, 0.2, 0.3], [0.9] * 3)}
  if name:  # the class's own, which the file leaves out
    assert got.fields["resample"] == 3
    assert got.fields["do_center_crop"]


def test_two_spellings_of_one_size_do_not_differ(tmp_path):
  old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224}
  new = {"image_processor_type": "CLIPImageProcessor", "crop_size": 224}
  assert not _folder(tmp_path, old, {"image_processor": new}).differing


def test_what_a_processor_leaves_open_is_not_guessed(tmp_path):
  got = _folder(tmp_path, {"image_processor_type": "MyProcessor"})
  assert "size" not in got.fields
  with pytest.raises(ValueError, match="image_mean must be one or three num"):
    pixels.statistics(got.fields)
  with pytest.raises(
    ValueError, match=r"image_std .* above 0; got \[0, 1, 1\]"
  ):
    pixels.statistics({"image_mean": 0, "image_std": [0, 1, 1]})


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, "\xff"])
def test_a_processor_that_is_broken(text, tmp_path):
  path = tmp_path / "processor_config.json"
  path.write_text(text, encoding="latin-1")
  with pytest.raises(ValueError, match=r"processor_config\.json"):
    pixels.read_processor(tmp_path)


def test_a_processor_that_is_a_pointer(tmp_path):
  path = tmp_path / "preprocessor_config.json"
  path.write_text("version https://git-lfs.github.com/spec/v1\n")
  with pytest.raises(ValueError, match="a Git LFS pointer: run git lfs pull"):
    pixels.read_processor(tmp_path)


def test_a_section_in_the_older_file_is_refused(tmp_path):
  """Transformers would take its own defaults in its place."""
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps({"image_processor": {"image_mean": 0.5}}))
  with pytest.raises(ValueError, match="must not lie in a section image_proc"):
    pixels.read_processor(tmp_path)


def test_plain_statistics_keep_their_digits():
  mean, std = pixels.statistics(
    {"image_mean": [0.1, 0.2, 0.3], "rescale_factor": 1 / 255},
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.4, 0.5, 0.6),
  )
  assert (mean, std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_one_number_stands_for_three():
  assert pixels.triple(0.5) == (0.5, 0.5, 0.5)
