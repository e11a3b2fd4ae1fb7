"""Dual encoder of Diptych for transformers: PyTorch, inference only.

transformers.AutoModel.from_pretrained(FOLDER, trust_remote_code=True) runs this
file. The towers are a Vision Transformer over square images and a transformer
over token ids; parameters have Diptych's names.
"""

import dataclasses
import functools

import torch
import transformers

ACTIVATIONS = {
  "gelu": torch.nn.functional.gelu,
  "gelu_tanh": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
  "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
  "relu6": torch.nn.functional.relu6,
  "swish": torch.nn.functional.silu,
}


class DiptychConfig(transformers.PretrainedConfig):
  """Fields of both towers, as Diptych's config.model has them."""

  model_type = "diptych"

  def __init__(self, embed_dim=1, image=None, text=None, **others):
    self.embed_dim = embed_dim
    self.image = image
    self.text = text
    super().__init__(**others)


@dataclasses.dataclass
class DiptychOutput(transformers.utils.ModelOutput):
  """Embeddings of L2 norm 1, and logits of images by texts."""

  logits_per_image: torch.Tensor | None = None
  logits_per_text: torch.Tensor | None = None
  image_embeds: torch.Tensor | None = None
  text_embeds: torch.Tensor | None = None


class Attention(torch.nn.Module):
  """Multi-head attention."""

  def __init__(self, width, num_heads):
    super().__init__()
    self.query = torch.nn.Linear(width, width)
    self.key = torch.nn.Linear(width, width)
    self.value = torch.nn.Linear(width, width)
    self.out = torch.nn.Linear(width, width)
    self.num_heads = num_heads

  def forward(self, x, keys, mask=None):
    """Attend from x to keys where the mask is True."""
    query, key, value = (
      made.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
      for made in (self.query(x), self.key(keys), self.value(keys))
    )
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
      logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    y = logits.softmax(-1) @ value
    return self.out(y.transpose(1, 2).flatten(2))


class Mlp(torch.nn.Module):
  """Two affine maps with an activation between them."""

  def __init__(self, config):
    super().__init__()
    self.up = torch.nn.Linear(config["width"], config["mlp_width"])
    self.down = torch.nn.Linear(config["mlp_width"], config["width"])
    self.activation = ACTIVATIONS[config["activation"]]

  def forward(self, x):
    """Return the tokens after both maps."""
    return self.down(self.activation(self.up(x)))


class Block(torch.nn.Module):
  """Transformer layer: attention, then MLP, each normalised first."""

  def __init__(self, config):
    super().__init__()
    self.attn_norm = make_norm(config)
    self.attn = Attention(config["width"], config["num_heads"])
    self.mlp_norm = make_norm(config)
    self.mlp = Mlp(config)

  def forward(self, x, mask=None):
    """Return the tokens after this layer."""
    y = self.attn_norm(x)
    x = x + self.attn(y, y, mask)
    return x + self.mlp(self.mlp_norm(x))


class MapHead(torch.nn.Module):
  """Pool tokens by attention from one learned query."""

  def __init__(self, config):
    super().__init__()
    self.probe = torch.nn.Parameter(torch.zeros(1, config["width"]))
    self.attn = Attention(config["width"], config["num_heads"])
    self.mlp_norm = make_norm(config)
    self.mlp = Mlp(config)

  def forward(self, x, mask=None):
    """Return one token of each example."""
    y = self.attn(self.probe.expand(len(x), 1, -1), x, mask)
    return (y + self.mlp(self.mlp_norm(y)))[:, 0]


class Tower(torch.nn.Module):
  """Parts that both towers have."""

  def __init__(self, config, embed_dim, num_positions):
    super().__init__()
    width = config["width"]
    self.position = torch.nn.Parameter(torch.zeros(num_positions, width))
    self.blocks = torch.nn.ModuleList(
      [Block(config) for _ in range(config["depth"])]
    )
    self.norm = make_norm(config)
    self.pool = MapHead(config) if config["pool"] == "map" else None
    self.projection = None
    if config["projection"]:
      use_bias = config["projection_bias"]
      self.projection = torch.nn.Linear(width, embed_dim, bias=use_bias)
    self.config = config

  def project(self, x):
    """Return rows of L2 norm 1."""
    x = x if self.projection is None else self.projection(x)
    square = x.square().sum(-1, keepdim=True)
    return x * square.clamp(min=1e-12).rsqrt()


class ImageTower(Tower):
  """Vision Transformer."""

  def __init__(self, config, embed_dim):
    side = config["image_size"] // config["patch_size"]
    has_cls = config["pool"] == "cls"
    super().__init__(config, embed_dim, side**2 + has_cls)
    width, pre_norm = config["width"], config["pre_norm"]
    self.patch = torch.nn.Linear(
      3 * config["patch_size"] ** 2, width, bias=not pre_norm
    )
    self.cls = torch.nn.Parameter(torch.zeros(1, width)) if has_cls else None
    self.pre_norm = make_norm(config) if pre_norm else None

  def forward(self, pixels):
    """Embed pixels [b, 3, Y, X] with mean and deviation applied."""
    size = self.config["patch_size"]
    rows, columns = (n // size for n in pixels.shape[2:])
    pixels = pixels[:, :, : rows * size, : columns * size]
    x = pixels.unflatten(3, (columns, size)).unflatten(2, (rows, size))
    x = self.patch(x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
    if self.cls is not None:
      x = torch.cat([self.cls.expand(len(x), 1, -1), x], 1)
    x = x + self.position
    x = x if self.pre_norm is None else self.pre_norm(x)
    for block in self.blocks:
      x = block(x)
    x = self.norm(x)
    if self.pool is not None:
      return self.project(self.pool(x))
    return self.project(x[:, 0] if self.cls is not None else x.mean(1))


class TextTower(Tower):
  """Transformer over token ids."""

  def __init__(self, config, embed_dim):
    super().__init__(config, embed_dim, config["num_tokens"])
    shape = config["vocab_size"], config["width"]
    self.token_embedding = torch.nn.Parameter(torch.zeros(shape))

  def forward(self, ids):
    """Embed ids [b, L], padded behind the caption."""
    length = ids.shape[1]
    x = self.token_embedding[ids] + self.position[:length]
    real = None
    if self.config["mask_padding"]:
      real = (ids != self.config["pad_id"])[:, None, None]
    mask = real
    if self.config["causal"]:
      ones = torch.ones(length, length, dtype=torch.bool, device=ids.device)
      mask = ones.tril() if real is None else ones.tril() & real
    for block in self.blocks:
      x = block(x, mask)
    x = self.norm(x)
    if self.pool is not None:
      return self.project(self.pool(x, real))
    if self.config["pool"] == "mean":
      weight = torch.ones_like(ids) if real is None else real[:, 0, 0]
      weight = weight.to(x.dtype)[..., None]
      return self.project((x * weight).sum(1) / weight.sum(1).clamp(min=1))
    return self.project(x[torch.arange(len(x)), self.pooled(ids)])

  def pooled(self, ids):
    """Return the position of the one token that is pooled."""
    pool, length = self.config["pool"], ids.shape[1]
    if pool == "argmax":
      return ids.argmax(1)
    if pool == "eot":
      eot_id, pad_id = self.config["eot_id"], self.config["pad_id"]
      is_eot = ids == eot_id
      count = torch.arange(1, length + 1, device=ids.device)
      last = torch.where(ids != pad_id, count, 0).amax(1)
      last = (last + (pad_id == eot_id)).clamp(max=length) - 1
      first = is_eot.int().argmax(1)
      return torch.where(is_eot.any(1), first, last.clamp(min=0))
    position = {"first": 0, "last": length - 1}[pool]
    return torch.full((len(ids),), position, device=ids.device)


class DiptychModel(transformers.PreTrainedModel):
  """Dual encoder: an image tower, a text tower, scale and bias of logits."""

  config_class = DiptychConfig
  main_input_name = "pixel_values"

  def __init__(self, config):
    super().__init__(config)
    self.img = ImageTower(config.image, config.embed_dim)
    self.txt = TextTower(config.text, config.embed_dim)
    self.log_scale = torch.nn.Parameter(torch.zeros(()))
    self.bias = torch.nn.Parameter(torch.zeros(()))
    self.post_init()

  def _init_weights(self, module):
    del module  # all are in the file of weights

  def get_image_features(self, pixel_values, **others):
    """Return embeddings [b, E] of L2 norm 1."""
    del others
    return self.img(pixel_values)

  def get_text_features(self, input_ids, **others):
    """Return embeddings [b, E] of L2 norm 1; ids alone say what is padding."""
    del others
    return self.txt(input_ids)

  def forward(self, input_ids=None, pixel_values=None, **others):
    """Return a DiptychOutput; raise ValueError where an input is missing."""
    del others
    if pixel_values is None or input_ids is None:
      raise ValueError(
        "forward compares images with texts: give both input_ids and"
        " pixel_values, or call get_image_features or get_text_features"
      )
    zimg = self.get_image_features(pixel_values)
    ztxt = self.get_text_features(input_ids)
    logits = self.log_scale.exp() * zimg @ ztxt.T + self.bias
    return DiptychOutput(
      logits_per_image=logits,
      logits_per_text=logits.T,
      image_embeds=zimg,
      text_embeds=ztxt,
    )


def make_norm(config):
  """Return a layer normalisation of a tower's width."""
  return torch.nn.LayerNorm(config["width"], eps=config["norm_epsilon"])
