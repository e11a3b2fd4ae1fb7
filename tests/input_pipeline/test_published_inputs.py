"""Image protocol and tokenizer of a published folder, made when asked for."""

import dataclasses
import json

import pytest
import tokenizers as package
from tokenizers import models, processors

from inference import model as model_lib
from input_pipeline.images import image_protocols
from input_pipeline.tokenizers import bytes as bytes_lib
from input_pipeline.tokenizers import hf_files
from tests.models.pretrained import goldens


@pytest.mark.parametrize("golden", goldens.MODELS)
def test_who_has_a_protocol(golden, tmp_path):
  path, _ = goldens.write_published(golden, tmp_path)
  model = model_lib.load(path)
  assert model.family == goldens.family_name(golden)
  assert model.step is None
  with pytest.raises(ValueError, match=r"cannot read texts: "):
    model.make_tokenizer()
  # An EfficientNet of any size has a protocol of its own, in its folder.
  if model.config.image is not None and model.family != "hf_efficientnet":
    protocol = model.make_image_protocol()
    assert protocol.mean == model.config.image_mean
    assert protocol.std == model.config.image_std
  else:
    with pytest.raises(ValueError, match=r"cannot see images: there is no "):
      model.make_image_protocol()


def test_images_are_made_ready_as_the_folder_says(tmp_path):
  goldens.write_published("hf_clip", tmp_path)
  model = model_lib.load(tmp_path)
  size = model.config.image.image_size
  assert model.make_image_protocol() == image_protocols.PROTOCOLS["clip"].at(
    size
  )
  squash = dataclasses.replace(
    image_protocols.PROTOCOLS["siglip"].at(size), std=(0.1, 0.2, 0.3)
  )
  described = tmp_path / "preprocessor_config.json"
  described.write_text(json.dumps(image_protocols.to_hf(squash)))
  model = model_lib.load(tmp_path)
  assert model.make_image_protocol().resize == "squash"
  assert model.make_image_protocol().size == size
  assert model.config.image_std == (0.1, 0.2, 0.3)
  described.write_text('{"do_pad": true}')
  model = model_lib.load(tmp_path)
  with pytest.raises(ValueError, match="cannot see images: .*do_pad"):
    model.make_image_protocol()


def test_what_is_assumed_of_images_is_said(tmp_path, capsys):
  goldens.write_published("hf_clip", tmp_path)
  model_lib.load(tmp_path).make_image_protocol()
  error = capsys.readouterr().err
  assert f"{tmp_path} has no image processor in processor_config.json" in error
  assert "assumed hf_clip's usual pixels: shorter side to 12 (bicubic)" in error
  model_lib.load(tmp_path).make_image_protocol()
  assert "assumed" not in capsys.readouterr().err  # once
  described = image_protocols.to_hf(image_protocols.PROTOCOLS["clip"])
  (tmp_path / "processor_config.json").write_text(
    json.dumps({"image_processor": described})
  )
  other = json.dumps(described | {"resample": 2})
  (tmp_path / "preprocessor_config.json").write_text(other)
  protocol = model_lib.load(tmp_path).make_image_protocol()
  assert (protocol.size, protocol.interpolation) == (12, "bicubic")
  lines = capsys.readouterr().err.splitlines()
  assert lines == [
    f"{tmp_path}: processor_config.json and preprocessor_config.json differ;"
    " taken from processor_config.json: resample 3 (there 2)",
    f"{tmp_path}: its images are described with 224 pixels, its tower takes 12:"
    " assumed shorter side to 12 (bicubic), centre crop of 12, mean (0.4815,"
    " 0.4578, 0.4082), std (0.2686, 0.2613, 0.2758)",
  ]


@pytest.mark.parametrize(
  "fields",
  [
    {"size": "x", "image_processor_type": "ViTImageProcessor"},
    {"size": {"height": "a", "width": "a"}},
    {"size": -3, "image_processor_type": 5},
    {"image_mean": "abc", "image_processor_type": "CLIPImageProcessor"},
  ],
)
def test_a_processor_of_another_form(fields, tmp_path):
  goldens.write_published("hf_vit", tmp_path)
  (tmp_path / "processor_config.json").write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=r"processor_config\.json|size"):
    model_lib.load(tmp_path).make_image_protocol()


def test_efficientnet_takes_the_size_of_its_processor(tmp_path, capsys):
  """It has no positions: ALIGN's tower says 600 pixels, its processor 289."""
  goldens.write_published("hf_align", tmp_path)
  described = image_protocols.to_hf(image_protocols.PROTOCOLS["align"].at(23))
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps(described))
  model = model_lib.load(tmp_path)
  assert model.config.image.image_size != 23
  assert model.make_image_protocol().size == 23
  assert "assumed" not in capsys.readouterr().err


def test_a_class_that_is_not_known_is_said(tmp_path, capsys):
  goldens.write_published("hf_clip", tmp_path)
  protocol = image_protocols.PROTOCOLS["clip"].at(12)
  fields = image_protocols.to_hf(protocol)
  fields["image_processor_type"] = "MyImageProcessor"
  path = tmp_path / "preprocessor_config.json"
  path.write_text(json.dumps(fields))
  assert model_lib.load(tmp_path).make_image_protocol().size == 12
  assert "names the class MyImageProcessor" in capsys.readouterr().err
  fields["image_processor_type"] = "ConvNextImageProcessor"
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match=r"crop_pct must be absent.*ConvNext"):
    model_lib.load(tmp_path).make_image_protocol()


def test_naflex_has_one_class(tmp_path):
  goldens.write_published("hf_siglip2", tmp_path)
  path = tmp_path / "preprocessor_config.json"
  fields = {"image_processor_type": "SiglipImageProcessor", "resample": 2}
  path.write_text(json.dumps(fields))
  with pytest.raises(ValueError, match="must be Siglip2ImageProcessor for"):
    model_lib.load(tmp_path).make_image_protocol()


def test_sentence_transformers_cut_texts_shorter(tmp_path):
  goldens.write_published("hf_bert", tmp_path)
  words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"]
  (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
  model = model_lib.load(tmp_path)
  assert model.make_tokenizer().num_tokens == model.config.text.num_tokens
  path = tmp_path / "sentence_bert_config.json"
  path.write_text('{"max_seq_length": 4}')
  assert model.make_tokenizer()(["a a a a"]).tolist() == [[2, 4, 4, 3]]


def test_another_end_of_text_is_refused(tmp_path):
  """No text would have the token that is pooled."""
  goldens.write_published("hf_clip", tmp_path)
  path = tmp_path / "config.json"
  config = json.loads(path.read_text())
  size = config["text_config"]["vocab_size"]
  marks = {"<s>": 0, "</s>": 1, "a": 2}
  whole = package.Tokenizer(models.WordLevel(marks, unk_token="a"))
  whole.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
  )
  whole.save(str(tmp_path / "tokenizer.json"))
  (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "</s>"}')
  for eos_id, message in ((size - 1, "pools the id"), (1, "")):
    config["text_config"]["eos_token_id"] = eos_id
    path.write_text(json.dumps(config))
    model = model_lib.load(tmp_path)
    if not message:
      assert model.make_tokenizer().eos_id == 1
      continue
    with pytest.raises(ValueError, match=f"{message} {eos_id}, but its token"):
      model.make_tokenizer()


def test_a_vocabulary_larger_than_the_model_s(tmp_path):
  goldens.write_published("hf_clip", tmp_path)
  made = bytes_lib.make_tokenizer(
    list, tmp_path, languages=(), vocab_size=258, num_tokens=5
  )
  hf_files.write(made, tmp_path)
  model = model_lib.load(tmp_path)
  with pytest.raises(ValueError, match="has 258 entries; the model has"):
    model.make_tokenizer()
