"""open_clip's convolutional image towers, as open_clip computed them."""

import numpy as np
import pytest

from models.pretrained import mapping
from models.pretrained.parts import clip_resnet, timm_convnext
from tests.models.pretrained import goldens
from tests.models.pretrained.families import image_tower


@pytest.mark.slow
@pytest.mark.parametrize(
  ("family", "name"),
  [
    (image_tower.RESNET, "clip_resnet"),
    (image_tower.CONVNEXT, "timm_convnext"),
    (image_tower.CONVNEXT, "timm_convnext_mlp"),
  ],
)
def test_equals_open_clip(family, name):
  goldens.check(family, goldens.FOLDER / f"{name}.npz")


def test_resnet_is_read_from_shapes():
  found, _ = goldens.read(goldens.FOLDER / "clip_resnet.npz")
  assert not timm_convnext.recognises_image(found.tensors)
  image, embed_dim = clip_resnet.read_image(found.tensors)
  assert (image.image_size, image.width, image.depths, image.num_heads) == (
    64,
    4,
    (1, 3, 1, 1),
    2,
  )
  assert embed_dim == 8


def test_convnext_is_read_from_shapes():
  found, _ = goldens.read(goldens.FOLDER / "timm_convnext_mlp.npz")
  assert not clip_resnet.recognises_image(found.tensors)
  image, embed_dim = timm_convnext.read_image(found.tensors, found.config)
  assert (image.depths, image.widths) == ((1, 2, 1, 2), (8, 12, 16, 20))
  assert (image.head, image.head_bias, embed_dim) == ("mlp", True, 6)


def test_a_missing_layer_is_named():
  found, _ = goldens.read(goldens.FOLDER / "clip_resnet.npz")
  tensors = dict(found.tensors)
  del tensors["visual.layer2.2.bn2.running_var"]
  broken = type(found)(found.path, found.config, tensors)
  with pytest.raises(
    mapping.MappingError, match=r"1 missing: visual.layer2.2.bn2.running_var"
  ):
    goldens.load(image_tower.RESNET, broken)


def test_positions_fit_another_resolution():
  found, _ = goldens.read(goldens.FOLDER / "clip_resnet.npz")
  image, _ = clip_resnet.read_image(found.tensors)
  (entry,) = (
    x for x in clip_resnet.links(image) if x.ours == ("img/position",)
  )
  table = found.tensors[entry.theirs[0]]
  resized = entry.resize(table, (1 + 9, 128))
  np.testing.assert_array_equal(resized[0], table[0])
  # The grid's middle, between its four positions.
  np.testing.assert_allclose(
    resized[5], np.mean(table[1:], axis=0), atol=1e-5
  )  # float32 sums of values of size 1
