"""Section `config.fusion`: a model in which images or videos meet texts.

With a kind, the step trains that model instead of a dual encoder, on batches of
training/objectives/fused.py; config.loss is not read. Its text tower is
config.model.text, a BERT. Clips are those of config.data.video; images are one
clip of one frame.
"""

import ml_collections


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no fused model; sizes of the papers."""
  fusion = ml_collections.ConfigDict()
  # "clipbert" (one BERT over cells of clips and words, arXiv 2102.06183),
  # "meter" (co-attention of two towers, arXiv 2111.02387) or "" (neither).
  fusion.kind = ""
  # "pretraining" (masked words and matching), "retrieval" (matching of videos
  # and texts), "answers", "choices" or "vqa" (soft scores of answers). METER
  # has the first and the last.
  fusion.task = "pretraining"
  # Logits of clips are aggregated by their "mean", "max" or "lse" (logarithm of
  # the sum of exponentials).
  fusion.aggregate = "lse"
  # Answers of the vocabulary, of "answers" and "vqa". VQA v2: 3,129.
  fusion.num_answers = 0
  # Texts of a video to choose from, of "choices".
  fusion.num_choices = 5
  # Clips of a video in evaluations, at even distances; 0: data.video.clips.
  fusion.test_clips = 0
  # Pairs of a clip and a text that retrieval scores at once, at least one text
  # with the clips of evaluate.batch_size videos.
  fusion.pair_block = 512
  # Most different answers that humans gave to a question, of "vqa"; VQA v2 asks
  # ten people.
  fusion.num_labels = 10
  # Other texts that each video of "retrieval" is compared with. 0 teaches no
  # difference, and is for ablations.
  fusion.num_negatives = 1
  # Share of the images of "pretraining" with another image's text.
  fusion.negative_share = 0.5
  # Share of words that "pretraining" predicts (arXiv 1810.04805, section 3.1).
  fusion.mask_share = 0.15
  # Ids of BERT's vocabulary, uncased: the mask, and those that are never
  # masked: padding, unknown, start and end.
  fusion.mask_id = 103
  fusion.kept_ids = (0, 100, 101, 102)
  fusion.cnn = _cnn()
  fusion.clipbert = _clipbert()
  fusion.meter = _meter()
  return fusion


def _cnn() -> ml_collections.ConfigDict:
  """Return ClipBERT's ResNet-50, as detectron2 has it."""
  cnn = ml_collections.ConfigDict()
  cnn.width = 64  # of the stem and inside of the first stage
  cnn.depths = (3, 4, 6, 3)  # blocks of each stage
  # Convolution with a block's stride: "conv1" (1 x 1; weights of Caffe and
  # detectron2) or "conv2" (3 x 3; torchvision).
  cnn.strides_in = "conv1"
  # Order of the channels that the first convolution reads: "rgb" or "bgr".
  cnn.channels = "bgr"
  # Mean and standard deviation of pixels of 0 to 255, red green blue.
  cnn.pixel_mean = (123.675, 116.28, 103.53)
  cnn.pixel_std = (1.0, 1.0, 1.0)
  # True: batch norms keep statistics, scale and bias of the weights that the
  # run starts from. Initial weights need False.
  cnn.frozen_norm = True
  # As model.image of tower "resnet", for frozen_norm=False.
  cnn.batch_norm_group = 0
  cnn.norm_epsilon = 1e-5
  cnn.norm_momentum = 0.9
  return cnn


def _clipbert() -> ml_collections.ConfigDict:
  clipbert = ml_collections.ConfigDict()
  # Embeddings of rows and columns of cells, 64 pixels each.
  clipbert.num_rows = 100
  clipbert.num_columns = 100
  # Cells that training keeps of each image; 0 keeps all. Pre-training: 100.
  clipbert.sampled_cells = 0
  return clipbert


def _meter() -> ml_collections.ConfigDict:
  meter = ml_collections.ConfigDict()
  meter.depth = 6  # layers of each stack
  meter.width = 768
  meter.num_heads = 12
  meter.mlp_ratio = 4  # hidden width of an MLP, in widths
  meter.dropout = 0.1
  meter.norm_epsilon = 1e-12  # BERT's
  # Token of the image that is pooled: "cls" (the first one, of towers with a
  # class token), or the "mean" of all.
  meter.image_pool = "mean"
  return meter
