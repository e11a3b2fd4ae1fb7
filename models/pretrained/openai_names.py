"""Names of the tensors in OpenAI's CLIP, which open_clip's models extend."""

from models import text_transformer, vit
from models.pretrained import forms, mapping, positions, torch_names


def image_links(
  config: vit.ViTConfig, embed_dim: int
) -> tuple[mapping.Link, ...]:
  """Return the links of a Vision Transformer, with CoCa's pooling or without.

  Args:
    config: of the tower.
    embed_dim: of the model.
  """
  links = [
    mapping.link(
      "img/patch/kernel",
      "visual.conv1.weight",
      forms.patch(config.patch_size),
    ),
    mapping.link("img/cls", "visual.class_embedding", forms.ROW),
    mapping.link(
      "img/position",
      "visual.positional_embedding",
      resize=positions.resize_grid(1),
    ),
    *torch_names.norm("img/pre_norm", "visual.ln_pre"),
    *_blocks("img/blocks", "visual.transformer"),
    *torch_names.norm("img/norm", "visual.ln_post"),
    mapping.link("img/projection/kernel", "visual.proj"),
  ]
  if config.pool == "queries":
    links += _query_pool(apart=config.width != embed_dim)
  return tuple(links)


def text_links(
  config: text_transformer.TextTransformerConfig, prefix: str = ""
) -> tuple[mapping.Link, ...]:
  """Return the links of a text transformer.

  Args:
    config: of the tower.
    prefix: of the names.
  """
  links = [
    mapping.link("txt/token_embedding", f"{prefix}token_embedding.weight"),
    mapping.link(
      "txt/position",
      f"{prefix}positional_embedding",
      resize=positions.resize_length,
    ),
    *_blocks("txt/blocks", f"{prefix}transformer"),
    *torch_names.norm("txt/norm", f"{prefix}ln_final"),
  ]
  if config.pool == "cls":
    links.append(mapping.link("txt/cls", f"{prefix}cls_emb", forms.ROW))
  if config.projection_bias:
    links += torch_names.dense("txt/projection", f"{prefix}text_projection")
  elif config.projection:
    links.append(
      mapping.link("txt/projection/kernel", f"{prefix}text_projection")
    )
  return tuple(links)


def _blocks(ours: str, theirs: str) -> list[mapping.Link]:
  theirs = f"{theirs}.resblocks.{mapping.LAYER}"
  return [
    *torch_names.norm(f"{ours}/attn_norm", f"{theirs}.ln_1"),
    *torch_names.attention(f"{ours}/attn", f"{theirs}.attn"),
    *torch_names.norm(f"{ours}/mlp_norm", f"{theirs}.ln_2"),
    *torch_names.dense(f"{ours}/mlp/up", f"{theirs}.mlp.c_fc"),
    *torch_names.dense(f"{ours}/mlp/down", f"{theirs}.mlp.c_proj"),
  ]


def _query_pool(*, apart: bool) -> list[mapping.Link]:
  return [
    mapping.link("img/pool/queries", "visual.attn_pool.query"),
    *torch_names.norm("img/pool/query_norm", "visual.attn_pool.ln_q"),
    *torch_names.norm("img/pool/key_norm", "visual.attn_pool.ln_k"),
    *torch_names.attention(
      "img/pool/attn", "visual.attn_pool.attn", apart=apart
    ),
  ]
