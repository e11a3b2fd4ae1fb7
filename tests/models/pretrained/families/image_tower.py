"""A family of open_clip files of which only the image tower is looked at."""

import dataclasses

from models import dual_encoder
from models.pretrained.parts import clip_resnet, timm_convnext
from tests.models import towers


@dataclasses.dataclass(frozen=True)
class ImageTower:
  """Like a module of models/pretrained, for a file of "visual." tensors."""

  module: object
  IGNORED: tuple[str, ...]

  def recognises(self, found) -> bool:
    return self.module.recognises_image(found.tensors)

  def read_model(self, found) -> dual_encoder.ModelConfig:
    args = () if self.module is clip_resnet else (found.config,)
    image, embed_dim = self.module.read_image(found.tensors, *args)
    return dataclasses.replace(
      towers.MODEL,
      embed_dim=embed_dim,
      image=image,
      text=None,
      image_mean=(0.5, 0.5, 0.5),
      image_std=(0.5, 0.5, 0.5),
    )

  def links(self, model):
    return self.module.links(model.image)


RESNET = ImageTower(clip_resnet, clip_resnet.IGNORED)
CONVNEXT = ImageTower(timm_convnext, timm_convnext.IGNORED)
