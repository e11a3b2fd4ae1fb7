"""Sections of `config.data.sources`, each a source of image-text pairs."""

from typing import Any

import ml_collections


def source(**fields: Any) -> ml_collections.ConfigDict:
  """Return a source's section: the defaults, changed by `fields`."""
  config = ml_collections.ConfigDict()
  # Key of input_pipeline.sources.FORMATS.
  config.format = "webdataset"
  # Path or fsspec URL (gs://, s3://, https://) of files; may contain {000..123}
  # and *. A path that exists is that path. "array_record": files, or the folder
  # of --task=prepare. "table": a .jsonl, .csv or .tsv, or its folder. "folder":
  # of images with captions beside them. "tfds": a folder, or NAME:VERSION.
  # "layout": the folder of a public data set, as it is published. "emoji": "".
  config.path = ""
  # Layout of the folder, for "layout": "MODULE.NAME", the entry NAME of LAYOUTS
  # in input_pipeline/sources/layouts/MODULE.py (docs/domains.md).
  config.layout = ""
  # Split to train on, for formats that have several.
  config.split = ""
  # Location of the image: extensions of a tar's members, or one column or
  # feature. () is the format's usual one.
  config.image = ()
  # Folder or URL below which rows of "table", "parquet" and "folder" may name
  # images by absolute paths; relative ones begin there. "": the table's folder.
  config.image_root = ""
  # Locations of captions: "txt" or "json.FIELD" of a tar, columns, features;
  # each one present is a caption of the example. () is the format's usual one.
  # A location's end says how it is read: "txt:lines" has one a line, and labels
  # of evaluations are digits of "json.FIELD:number", "COLUMN:number" and
  # "npy:array"; attributes, by "COLUMN:value", are texts also where none is.
  # In Parquet, "COLUMN.FIELD" is a part of a column.
  # Or one JSON file for each tar, such as "../../json/{folder}/{tar}.json", for
  # --task=curate and --task=prepare, which read in order.
  config.caption = ()
  # Language of the captions (ISO 639-1), and the field with the language if it
  # differs between examples.
  config.language = "en"
  config.language_field = ""
  # Encoding of a "table", or of texts in a "folder", that is not UTF-8, such as
  # "latin-1" or "utf-16".
  config.encoding = ""
  # Field with the example's UID in `subset`; "" uses its key. "file+key" adds
  # the path of its file, for files that number alike; docs/data.md has more.
  config.uid = ""
  # Prompts such as "a photo of a {}.", for captions that are names of classes;
  # one is drawn for each caption and step.
  config.templates = ()
  # Prompts such as "A photo of the {}." for short texts alone, those of at most
  # short_words words between blanks; one is drawn for each text and step. The
  # provenance of such a text is "augmented" (see data.leave_out), and its label
  # for the loss "unicl" is that of the text without a prompt. Florence (arXiv
  # 2111.11432): one or two words.
  config.short_templates = ()
  config.short_words = 2
  # Grammars of captions, (name, text) each, for a source that has fields, as a
  # place or a species, instead of captions; one is drawn for each caption:
  # (("place", "A photo [in {town}, ]?0.4in {country:the}."),). Their marks are
  # in input_pipeline/grammars/grammar.py.
  config.grammar = ()
  # Fields of the grammars, (slot, location) each, located as `caption` is:
  # (("town", "json.town"), ("country", "json.country")).
  config.grammar_fields = ()
  # "example": each example has its own draw. "batch": all examples of a step
  # have the same grammar and the same alternatives (BioCLIP's text types,
  # arXiv 2311.18803).
  config.grammar_draw = "example"
  # Values before which {country:the} puts "the ".
  config.grammar_articles = ()
  # Fields of questions, (field, location) each, located as `caption` is and in
  # its place: (("question", "question"), ("answer", "answer")) of a layout or a
  # table, "json.question" of a tar. Further fields: "answer_type", the group
  # that accuracy is reported by; "options", a list of texts to choose from,
  # with the index of the right one, from 0, as "answer"; "answers", a list of
  # the answers of humans. Read with config.fusion (docs/data.md).
  config.question_fields = ()
  # Fields of regions, (field, location) each, located as `caption` is, beside
  # it: (("boxes", "boxes"), ("texts", "box_texts")). "boxes" is a list of four
  # numbers each, "texts" a caption of each. Read with data.regions
  # (docs/regions.md).
  config.region_fields = ()
  # Four numbers of a box: "xyxy" (left, top, right, bottom) or "xywh" (left,
  # top, width, height); in "pixels" of the image as it is stored, or in
  # "shares" of its width and height. Layouts: "xyxy" in "pixels".
  config.box_form = "xyxy"
  config.box_unit = "pixels"
  # Weight of the source, its share of the batches relative to the others'; each
  # source then has its own order. 0 (for all sources): an epoch has all
  # examples of all sources, shuffled.
  config.weight = 0.0
  # Repeats of each example in an epoch of all sources; 1 with weights.
  config.repeat = 1
  # .npy file of the UIDs to train on (in DataComp's form, or written by
  # --task=curate); "" for all examples.
  config.subset = ""
  # keep.npy of --task=curate, with the probability that a caption is kept. For
  # each row of a batch, an example is drawn, one of its captions, and whether
  # it is kept; if not, another example. "" keeps all.
  config.keep = ""
  config.update(fields)
  return config
