"""Every field of a run, with its default, unit and source.

Other config files change some of these fields. A run cannot add fields (the
config is locked), and a field's type is the type of its default.
`training/config.py` checks the values before anything is built.
"""

import ml_collections

from configs.parts import (
  augmentation,
  captioning,
  curating,
  decoding,
  detection,
  distillation,
  fusion,
  questions,
  sources,
  towers,
  views,
)


def get_config() -> ml_collections.ConfigDict:
  """Return the defaults: a small ViT and text transformer, sigmoid loss."""
  config = ml_collections.ConfigDict()

  # One seed for parameters, data order, augmentation and caption choice.
  config.seed = 0
  # Optimizer updates in the whole run.
  config.total_steps = 1000
  # Image-text pairs that a step learns from, over all devices. A multiple of
  # data x fsdp. With config.curating a step reads more.
  config.batch_size = 256
  # Parts that each device's rows are embedded in, one after the other, for a
  # batch that does not fit in memory. The update equals that of the whole batch
  # (with loss.scope="global"), at the cost of one more forward pass.
  config.num_microbatches = 1
  # Updates of a batch that has the largest of data.augmentation.patch_counts,
  # each of its share of the rows, at one learning rate. SigLIP 2's 2 is half
  # the batch and twice the steps for the longest images, whose memory it
  # halves; 1 is one update.
  config.num_largest_updates = 1
  # Further caption lengths, in tokens below data.num_tokens, that the step is
  # compiled for: a batch is cut to the shortest that fits its longest caption.
  # The result is exact, and needs a text tower that ignores padding. The
  # compile time pays off if batches are small or all captions short.
  config.text_lengths = ()

  # Initial parameters: a published model's folder or file of weights
  # (safetensors, npz), "hf://owner/name", or the workdir of a run. Behind a
  # file without a config, what it leaves open: "FILE#activation=quick_gelu"
  # (docs/models.md). One for both towers, or one for each; "" initialises from
  # the seed. Positions are resized to the run's resolution and text length.
  config.init_from = ""
  config.init_image_from = ""
  config.init_text_from = ""
  # Regexes (re.fullmatch) of parameters that are initialised from the seed
  # nevertheless, and of tensors that are not read: (r"img/projection/.*",
  # r"classifier\..*") for an image tower that was published as a classifier.
  config.init_except = ()

  # Devices along each mesh axis; -1 (at most once) stands for all others.
  config.mesh = ml_collections.ConfigDict()
  config.mesh.data = -1  # batch split, parameters replicated
  config.mesh.fsdp = 1  # batch split, parameters split
  config.mesh.tensor = 1  # heads, MLP and vocabulary split

  # (regex, axes) over parameter paths such as "img/blocks/mlp/up/kernel".
  # The first match (re.fullmatch) wins. A parameter without a match is an
  # error, and so is a rule that wins for none. Axes name one mesh axis (or
  # None) for each dimension, counted from the last; other dimensions are not
  # split.
  config.partition_rules = (
    (r".*/attn/(query|key|value)/kernel", ("fsdp", "tensor")),
    (r".*/attn/(query|key|value)/bias", ("tensor",)),
    (r".*/attn/out/kernel", ("tensor", "fsdp")),
    (r".*/mlp/up/kernel", ("fsdp", "tensor")),
    (r".*/mlp/up/bias", ("tensor",)),
    (r".*/mlp/down/kernel", ("tensor", "fsdp")),
    (r"txt/token_embedding", ("tensor", "fsdp")),
    (r".*", ()),
  )

  config.data = _data()
  config.model = _model(config.data)
  config.loss = _loss()
  config.optimizer = _optimizer()
  config.checkpoint = _checkpoint()
  config.evaluate = _evaluate()
  config.hang = _hang()

  # Name -> phase of the run, which changes fields from its first step on, as
  # configs/parts/phases.py makes them (docs/phases.md); {}: one for all steps.
  config.phases = ml_collections.ConfigDict()

  config.trackers = _trackers()
  config.vqa = questions.section()
  config.detection = detection.section()
  config.fusion = fusion.section()
  config.decoding = decoding.section()
  config.distillation = distillation.section()
  config.captioning = captioning.section()
  config.curating = curating.section()

  # Steps between two lines of metrics.jsonl.
  config.log_every_steps = 1
  # Steps between two lines with the norms of the gradient of each loss apart
  # (config.decoding, distillation, captioning); each norm costs one gradient.
  # 0: none.
  config.log_gradients_every_steps = 0
  return config


def _data() -> ml_collections.ConfigDict:
  data = ml_collections.ConfigDict()
  # Name -> source (configs/parts/sources.py); several are mixed. In the
  # configs of this folder the first one is "main":
  # --config.data.sources.main.path=...
  data.sources = ml_collections.ConfigDict()
  data.sources.main = sources.source(format="webdataset")
  # Folder of files made once: indices of sources, drawings, tokenizers.
  data.cache_dir = "cache"
  # One language is drawn for each example and step; the first one is the
  # language of the headline evaluation figures.
  data.languages = ("en",)
  # Most characters of a caption; a longer one is a fault of its example.
  data.max_caption_chars = 10_000
  # Side of images in pixels; they are square, RGB.
  data.image_size = 64
  data.augmentation = augmentation.section()
  # Further views of each image, for config.distillation.
  data.views = views.section()
  # Image protocol of evaluation, embedding and export: resize and crop without
  # chance. A key of image_protocols.PROTOCOLS (at image_size), "training" for
  # the one that fits data.augmentation (its squashed images squashed, else the
  # shorter side and the centre), or "" for the protocol of the model that the
  # run starts from, "training" without one.
  data.image_protocol = ""
  data.video = _video()
  # Tokens that a caption is cut or padded to.
  data.num_tokens = 16
  # Tokens that a caption of training is cut or padded to, fewer than
  # num_tokens, so that a first phase costs less (CLIPA, arXiv 2305.07017, cuts
  # captions so); 0 takes num_tokens. Evaluations take num_tokens always.
  data.train_num_tokens = 0
  # False: a caption of more tokens is a fault of its example.
  data.cut_captions = True
  # Provenances of texts that are not trained on: "augmented" (short texts in
  # short_templates of their source), and names of grammars. An example without
  # another text is replaced by another of its source.
  data.leave_out = ()
  # Key of input_pipeline.tokenizers.TOKENIZERS. A run that starts from a model
  # takes that model's tokenizer unless tokenizer_path names another, and each
  # run keeps its tokenizer in its folder.
  data.tokenizer = "bpe"
  # File or folder with the vocabulary, read by all tokenizers except "bpe" and
  # "bytes". Rules (marks, padding, case) are in tokenizers/rules.py.
  data.tokenizer_path = ""
  # Entries of the token embedding; a tokenizer may use fewer, never more.
  data.vocab_size = 2048
  # Name -> source (as data.sources) of a split that --task=fuse takes figures
  # on; {}: none. Without question_fields: retrieval of its videos and captions;
  # with options: multiple choice; else accuracy of answers.
  data.tests = ml_collections.ConfigDict()
  data.regions = _regions()
  # File with the vocabulary of answers of fusion.task="answers" and "vqa": one
  # a line, or JSON; "" for the most frequent ones of data.sources.
  data.answers_path = ""
  # Largest share of examples that cannot be used, of 1,000 examples or all so
  # far; above it by three standard deviations, the run ends. Such examples are
  # replaced by others of their source and named in WORKDIR/data_errors.jsonl.
  data.max_bad_fraction = 0.01
  # Seconds without a batch after which the run prints the stage it waits for.
  data.stall_seconds = 60.0
  # Worker processes that read and decode; 0 uses threads of this process.
  data.num_workers = 0
  # Decoding threads per worker process (of this process when num_workers is 0).
  data.num_threads = 2
  # Batches prepared in advance.
  data.num_prefetch_batches = 4
  return data


def _video() -> ml_collections.ConfigDict:
  """Return the section of videos (docs/data.md); sources hold images."""
  video = ml_collections.ConfigDict()
  # Clips of an example; above 0, sources hold videos, and a batch has uint8
  # [B, clips, frames, image_size, image_size, 3]. All frames of a clip have the
  # same augmentation. ClipBERT on MSR-VTT: 8 (arXiv 2102.06183).
  video.clips = 0
  # Frames of a clip, and frames a second: a clip lasts frames / fps seconds.
  # ClipBERT on MSR-VTT: 2 and 2.0.
  video.frames = 2
  video.fps = 2.0
  # Start of clips: "random", each drawn by itself for each step, or "uniform",
  # clip i at (seconds of the video - seconds of a clip) * i / clips.
  video.start = "random"
  return video


def _regions() -> ml_collections.ConfigDict:
  """Return the section of a decoder's targets (docs/regions.md): off."""
  regions = ml_collections.ConfigDict()
  # Ids of a target; above 0, batches have targets of a decoder beside images
  # and captions, made of the captions and of the region_fields of sources.
  # SigLIP 2 (arXiv 2502.14786) does not state it; 64 is that of its captions.
  regions.num_tokens = 0
  # "drawn": an example has one target, its task drawn by `probabilities`.
  # "all": three, one of each task ([B, 3, L]), as SigLIP 2's three passes of
  # the decoder need.
  regions.tasks = "drawn"
  # Probabilities of: the image's caption; a region's box for its caption; a
  # region's caption for its box. Ours: equal, as SigLIP 2 runs all three.
  regions.probabilities = (1 / 3, 1 / 3, 1 / 3)
  # Weight of the loss of ids that are given: a region's caption before its box,
  # a box before its caption. SigLIP 2 predicts one of the other: 0. 1 is LocCa
  # (arXiv 2403.19596), whose third task predicts box and caption.
  regions.given_weight = 0.0
  # Bins that a side of a box is rounded to, shared by the four, and the order
  # of the four ids: "yxyx" (top, left, bottom, right) or "xyxy". Both ours.
  regions.num_bins = 1000
  regions.order = "yxyx"
  # Least share of a region's area that the crop must show; a region below is
  # not used. Ours.
  regions.least_visible = 0.5
  # A region whose box is outside of its image, without area or not finite, or
  # without a text: "fault", the example is replaced by another and is named in
  # data_errors.jsonl, or "skip", the region alone is left out, and counted.
  regions.broken = "fault"
  # True: examples of sources with question_fields are questions whose answers
  # the decoder learns, beside the tasks of other sources. It adds an id.
  regions.answers = False
  return regions


def _model(data: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  model = ml_collections.ConfigDict()
  # Length of the embeddings of both towers.
  model.embed_dim = 256
  # Type of the arithmetic of both towers and heads: "bfloat16" or "float32".
  # Parameters, normalisation statistics, embeddings' norm, logits and loss are
  # float32.
  model.dtype = "bfloat16"
  # Recomputation in the backward pass: "none", "dense" (all except the affine
  # maps; fastest on a CPU) or "block" (each layer from its input).
  model.remat = "none"
  # Parts of a device's batch that remat="block" computes one after the other:
  # the memory of a layer's activations shrinks by this factor. Towers of stages
  # (ResNet, EfficientNet, ConvNeXt, Swin) are not cut.
  model.remat_chunks = 1
  # exp(log_scale) and bias of the logits at step 0. SigLIP: 10 and -10
  # (arXiv 2303.15343, section 3.2). CLIP: 1 / 0.07, no bias.
  model.scale_init = 10.0
  model.scale_max = 0.0  # 0: no limit; CLIP (2.5) clips at 100
  model.bias_init = -10.0

  # Mean and standard deviation of the pixels, red green blue, on a scale of 0
  # to 1. SigLIP: 0.5 each.
  model.image_mean = (0.5, 0.5, 0.5)
  model.image_std = (0.5, 0.5, 0.5)

  model.image = towers.vit(data)
  model.lora = _lora()
  model.head = _head()
  model.text = towers.text_transformer(data)
  return model


def _loss() -> ml_collections.ConfigDict:
  loss = ml_collections.ConfigDict()
  # Key of losses.LOSSES, or "classes": cross-entropy of model.head's logits.
  loss.name = "sigmoid"
  # Share of the target spread over all pairs; not with "sigmoid". ALIGN: 0.1
  # (arXiv 2102.05918, section 5.1).
  loss.label_smoothing = 0.0
  # Most texts whose logits exist at once on a device. Each device holds float32
  # logits of its images and this many texts, for any batch size.
  loss.block_size = 256
  # Rows whose texts are an image's negatives: "global" (the whole batch, as in
  # SigLIP, BioCLIP and Florence), "device" (the device's own share, as in
  # CLIP-RSICD on 8 TPU cores) or "microbatch" (one micro-batch over all
  # devices, as with gradient accumulation in StreetCLIP). At least two rows.
  loss.scope = "global"
  # Weight of the loss of pairs beside those of config.decoding, distillation
  # and captioning; 1 without them. 0: no pair is compared and no text embedded,
  # and optimizer.freeze holds what then learns nothing (docs/joint.md).
  loss.weight = 1.0
  return loss


def _lora() -> ml_collections.ConfigDict:
  """Return low-rank updates of linear maps (LoRA, arXiv 2106.09685); none."""
  lora = ml_collections.ConfigDict()
  # Rank of the updates; 0: none. With updates, optimizer.freeze holds the rest:
  # ((r".*/lora_[ab]", False), (r".*", True)).
  lora.rank = 0
  # Factor of an update times the rank: it is alpha / rank.
  lora.alpha = 16.0
  # Regexes (re.fullmatch) of the maps that get one:
  # (r"(img|txt)/blocks/attn/(query|value)",).
  lora.maps = ()
  return lora


def _head() -> ml_collections.ConfigDict:
  """Return a linear head on embeddings of images (docs/finetuning.md); none."""
  head = ml_collections.ConfigDict()
  # Names of the classes; loss.name="classes" then learns which of them is the
  # caption of an image.
  head.classes = ()
  # Prompts, {c} for the class, whose embeddings times exp(log_scale) the head
  # begins with (WiSE-FT, arXiv 2109.01903); (): zeros, which need a rate of
  # their own (docs/finetuning.md). A run that begins with a run of the same
  # classes takes its head.
  head.prompts = ()
  return head


def _optimizer() -> ml_collections.ConfigDict:
  optimizer = ml_collections.ConfigDict()
  optimizer.name = "adamw"  # "adamw", "adafactor", "lamb" or "adamax"
  optimizer.learning_rate = 1e-3  # highest value of the schedule
  optimizer.b1 = 0.9
  optimizer.b2 = 0.95
  optimizer.epsilon = 1e-8
  # Type of the first moment; "bfloat16" halves its memory.
  optimizer.moment_dtype = "float32"
  # Largest norm of the whole gradient; 0 does not clip.
  optimizer.clip_norm = 1.0

  # "cosine", "linear" (both to final_fraction at the last step), "rsqrt"
  # (inverse square root with `timescale_steps`), "constant" or "factors" (see
  # below); the latter three end in a linear cooldown to 0 unless
  # cooldown_steps is 0.
  optimizer.schedule = "cosine"
  optimizer.warmup_steps = 100
  optimizer.cooldown_steps = 0
  optimizer.timescale_steps = 10_000
  optimizer.final_fraction = 0.0
  # Parts of the schedule "factors": first step, and factor of learning_rate, as
  # ((0, 0.5), (100, 1.0), (900, 0.75)).
  optimizer.factors = ()

  # Three conventions of published recipes. "lr": the decay is multiplied by the
  # learning rate (AdamW of PyTorch and optax). "schedule": by the schedule
  # divided by its highest value (big_vision), so 1e-4 there is 0.1 here at rate
  # 1e-3. "l2": decay times parameter is added to the gradient, before its
  # moments (weight_decay of PyTorch's Adam and Adamax).
  optimizer.weight_decay = 0.01
  optimizer.weight_decay_convention = "lr"

  # (regex, value) over parameter paths; the first match wins. A parameter
  # without a match is an error, and so is a rule that wins for none.
  optimizer.weight_decay_mults = ((r".*/kernel", 1.0), (r".*", 0.0))
  optimizer.learning_rate_mults = ((r".*", 1.0),)
  # Factor of the learning rate from each layer of a tower to the one below it,
  # for fine-tuning: layer l of n has layer_decay^(n - l), embeddings have
  # layer_decay^(n + 1), what follows the layers 1. 1.0: none.
  optimizer.layer_decay = 1.0
  # A frozen parameter has no optimizer state and never changes.
  optimizer.freeze = ((r".*", False),)
  return optimizer


def _hang() -> ml_collections.ConfigDict:
  """Return the limits of a run of several processes in which one hangs."""
  hang = ml_collections.ConfigDict()
  # Time without a step after which a line names who is in which phase: as a
  # multiple of the median step (0: never), and at least in seconds. So long a
  # process may also be silent, in any phase.
  hang.medians = 20.0
  hang.least_seconds = 60.0
  # Seconds from then on after which the run ends, with exit code 75 where it
  # has a checkpoint; 0: never.
  hang.end_seconds = 600.0
  return hang


def _checkpoint() -> ml_collections.ConfigDict:
  checkpoint = ml_collections.ConfigDict()
  checkpoint.every_steps = 1000  # the last step is always saved
  checkpoint.keep = 3  # newest checkpoints kept
  # Figure of the evaluations, such as "holdout/loss" or
  # "holdout/image_to_text/R@1", whose best step is kept in WORKDIR/selected:
  # the last evaluation, and whoever reads the run, take its weights instead of
  # the last step's. "": none. Losses and ranks are better where lower.
  checkpoint.select = ""
  return checkpoint


def _evaluate() -> ml_collections.ConfigDict:
  evaluate = ml_collections.ConfigDict()
  # 0: at the end only.
  evaluate.every_steps = 0
  evaluate.batch_size = 256
  # Most share of a run's time that its evaluations but the last may take, 1 for
  # no limit. Below 1, the first one measures steps and examples and decides how
  # many examples of each source are evaluated until the end, the same ones at
  # every step (evaluation_sample.json); sets of which some examples are left
  # out are called NAME.sample in metrics.jsonl.
  evaluate.max_fraction = 1.0
  # True: the loss of each retrieval set is a figure too, "SET/loss": that of
  # its images, each with its first text, in batches of batch_size.
  evaluate.loss = False
  # Share of the images of each source in data.sources that training leaves out
  # and the set "holdout" of the results is taken on (of several sources, there
  # is "holdout_NAME" for each too); 0 for none. An image is held out with all
  # its pairs, by a hash: input_pipeline/sources/image_ids.py.
  evaluate.holdout = 0.0
  # Name -> section of a set that figures are taken on, as the functions of
  # evaluators/sets return it; configs/evaluate has suites of them. A set has a
  # source of its own. None: --config.evaluate.sets={}
  evaluate.sets = ml_collections.ConfigDict()
  return evaluate


def _trackers() -> ml_collections.ConfigDict:
  trackers = ml_collections.ConfigDict()
  # Services that get a copy of metrics.jsonl and of the config: "wandb",
  # "trackio", "mlflow" (requirements-trackers.txt). Where each one sends them
  # is told by the variables of its client (docs/trackers.md).
  trackers.names = ()
  # Project there; MLflow's experiment.
  trackers.project = "diptych"
  # Name of the run there; "" for that of its folder.
  trackers.run_name = ""
  return trackers
