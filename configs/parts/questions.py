"""Section `config.vqa`: a model that answers questions about images.

It is read by --task=vqa alone, together with seed, batch_size, mesh,
partition_rules, model.image, optimizer, checkpoint, evaluate.batch_size, hang
and trackers; data, loss, model.text and the sets of a dual encoder are not.
Where the autoencoder alone is trained, data, total_steps, evaluate.every_steps
and evaluate.holdout are read too, and model is not. Where the router alone is
trained, model.image is not read.
"""

import ml_collections


def section() -> ml_collections.ConfigDict:
  """Return the defaults: no questions; MEVF's model."""
  vqa = ml_collections.ConfigDict()
  # "answers", or a part beforehand, which another run reads. "autoencoder":
  # denoising of the images of data.sources alone, for autoencoder_from;
  # questions are not read. "router": types of the training questions, for
  # router_from; images are not read.
  vqa.trains = "answers"
  # Key of input_pipeline.questions.layouts.LAYOUTS, "vqa_rad" or "slake"; "" is
  # a run without questions.
  vqa.layout = ""
  # Folder of the set.
  vqa.path = ""
  # True: answers and words of the test split are known in training and the best
  # epoch is chosen on it, as in the released code of MEVF and QCR. For
  # comparison with published figures; no estimate for new questions.
  vqa.legacy_protocol = False
  # Share of the training images whose questions choose the best epoch, for a
  # set without a validation split of its own.
  vqa.validation_share = 0.1
  # Text file of GloVe's vectors, as glove.6B.300d.txt; "" draws vectors from
  # the seed.
  vqa.glove_path = ""
  # Words that a question is cut or padded to.
  vqa.num_tokens = 12
  # Epochs of training questions // batch_size steps. They decide total_steps,
  # and evaluate.every_steps is one epoch.
  vqa.num_epochs = 20
  # First epoch and factor of optimizer.learning_rate, as ((0, 0.5), (10, 1.0)),
  # in place of optimizer.schedule; () leaves that.
  vqa.epoch_factors = ()
  # Binary cross-entropies of an example's answers are summed ("sum") or
  # averaged ("mean").
  vqa.answer_reduction = "sum"
  # Weight of the autoencoder's mean squared error in the loss (PubMedCLIP's
  # code: 0.001).
  vqa.reconstruction_weight = 0.001
  # Standard deviation of the Gaussian noise that trains="autoencoder" removes,
  # of grey levels in [0, 1] (released code of MEVF: 0.1).
  vqa.noise_sigma = 0.1
  # Folder of a run with trains="autoencoder" that encoder and decoder start
  # from; "" draws them from the seed.
  vqa.autoencoder_from = ""
  # Folder of a run with trains="router" on the same questions, whose router is
  # used and frozen; "" trains the router in the steps of the answers.
  vqa.router_from = ""

  model = vqa.model = ml_collections.ConfigDict()
  # "mevf" (one head for all answers) or "qcr" (a head for closed and one for
  # open answers, a vector of the question, and a router).
  model.kind = "mevf"
  model.recurrent = "lstm"  # question encoder: "lstm" (MEVF) or "gru" (QCR)
  model.width = 1024  # of questions, attention and fused features
  model.word_width = 300  # numbers of a word's vector: GloVe's
  model.glimpses = 2  # of bilinear attention: 2 (MEVF) or 10 (QCR)
  model.rank = 3  # of its logits, in multiples of the width
  # Side in pixels of the autoencoder's grey images, a multiple of 4.
  model.autoencoder_size = 128
  return vqa
