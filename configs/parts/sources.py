"""Sections of `config.data.sources`: where image-text pairs come from."""

from typing import Any

import ml_collections


def source(**fields: Any) -> ml_collections.ConfigDict:
  """Return a source's section with every field; `fields` are changed."""
  config = ml_collections.ConfigDict()
  # Key of input_pipeline.sources.FORMATS.
  config.format = "webdataset"
  # Files: a path or an fsspec URL (gs://, s3://), with {000..123} and * in it.
  # "array_record": files, or the folder of --task=prepare. "table": a .jsonl,
  # .csv or .tsv, or its folder. "tfds": a folder, or NAME:VERSION. "emoji": "".
  config.path = ""
  # Which of its splits is trained on, for formats that have several.
  config.split = ""
  # Where the image is: extensions of a tar's members, or one column or feature.
  # () is what the format's layouts agree on.
  config.image = ()
  # Where captions are: "txt" or "json.FIELD" of a tar, columns, features. Each
  # that is there is a caption of the example; () as above. Or one JSON file for
  # each tar, as "../../json/{folder}/{tar}.json": for --task=curate and
  # --task=prepare, which read in order.
  config.caption = ()
  # Language of the captions (ISO 639-1), and the field that says so where they
  # differ.
  config.language = "en"
  config.language_field = ""
  # Field with the example's name in `subset`; "" is its key.
  config.uid = ""
  # Prompts such as "a photo of a {}.", one of which is drawn for each caption
  # and step: for names of classes.
  config.templates = ()
  # Share of the batches beside other sources' weights, each source in an order
  # of its own. 0 (for all): an epoch has all examples of all sources, shuffled.
  config.weight = 0.0
  # How often such an epoch has each example; 1 beside weights.
  config.repeat = 1
  # .npy file of the UIDs that are trained on (DataComp's form, or what
  # --task=curate writes); "" is all.
  config.subset = ""
  # keep.npy of --task=curate, with the probability that a caption is kept. Each
  # place of a batch draws anew: an example, one of its captions, and whether it
  # is kept; if not, another example. "" keeps all.
  config.keep = ""
  config.update(fields)
  return config
