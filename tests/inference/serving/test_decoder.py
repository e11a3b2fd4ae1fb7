"""Captions and boxes of a served run with a decoder."""

import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from starlette import testclient

import inference
from inference.serving import app as app_lib
from inference.serving import fields, gate, service
from tests.inference.serving import conftest


@pytest.fixture(scope="module")
def model(speaking):
  return inference.Model.load(speaking, batch_size=8)


@pytest.fixture(scope="module")
def client(model):
  state = app_lib.State("Ready", service.Service(model, None, {"kind": None}))
  app = app_lib.make_app(state, gate.Limits(num_bytes=200_000))
  with testclient.TestClient(app, base_url=conftest.URL) as made:
    yield made


def _asked(client, name, file, **texts):
  return client.post(
    f"/v1/{name}", data=texts, files={"image": file.read_bytes()}
  )


def test_answers_are_those_of_python(client, model, files):
  answer = _asked(client, "caption", files[2]).json()
  # The ids of a box are behind those of the text, and are no text.
  assert answer == {
    "model": model.digest,
    "caption": "fox",
    "is_whole": True,
    "num_dropped": 4,
  }
  assert model.caption(files[2]) == ["fox"]
  answer = _asked(client, "refer", files[2], text="owl").json()
  assert answer["box"] == pytest.approx([*model.refer(files[2], "owl")])
  # 62 x 50: the middle 50 are seen.
  assert (answer["width"], answer["height"]) == (62, 50)
  assert answer["box"][0] == pytest.approx(6, abs=1)
  data = base64.b64decode(answer["picture"].partition(",")[2])
  pixels = np.asarray(Image.open(io.BytesIO(data)))
  np.testing.assert_array_equal(pixels, np.asarray(Image.open(files[2])))
  # Behind two ids comes one of a letter: no box.
  answer = _asked(client, "refer", files[2], text="ow").json()
  assert answer["box"] is None


def test_facts(client, model):
  decoder = client.get("/v1/info").json()["decoder"]
  assert decoder == {
    "digest": model.captioner.digest,
    "tasks": ["caption", "referring"],
    "num_tokens": 16,
  }


def test_requests_that_are_refused(client, files):
  broken = files[0].read_bytes()[:60]
  for name, texts in (("caption", {}), ("refer", {"text": "owl"})):
    answer = client.post(f"/v1/{name}", data=texts, files={"image": broken})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "image"
  answer = _asked(client, "refer", files[0])
  assert (answer.status_code, answer.json()["error"]["field"]) == (400, "text")
  # 72 million pixels, of few bytes: they are not decoded.
  large = io.BytesIO()
  Image.new("L", (9000, 8000)).save(large, "PNG")
  answer = client.post("/v1/caption", files={"image": large.getvalue()})
  assert answer.status_code == 400
  assert "image_too_large" in answer.text or "pixels" in answer.text


def test_a_model_without_a_decoder_says_so(run, files):
  served = inference.Model.load(run, batch_size=8)
  state = app_lib.State("Ready", service.Service(served, None, {"kind": None}))
  app = app_lib.make_app(state, gate.Limits())
  with testclient.TestClient(app, base_url=conftest.URL) as client:
    assert client.get("/v1/info").json()["decoder"] is None
    for name, texts in (("caption", {}), ("refer", {"text": "owl"})):
      answer = _asked(client, name, files[0], **texts)
      assert answer.status_code == 409
      assert "there is no decoder" in answer.json()["error"]["message"]


def test_a_decoder_that_did_not_learn_boxes(model, files, monkeypatch):
  writer = model.captioner
  decoder = dataclasses.replace(writer.decoder, tasks=("caption",))
  monkeypatch.setattr(writer, "decoder", decoder)
  served = service.Service(model, None, {"kind": None})
  with pytest.raises(fields.RequestError, match="did not learn boxes") as error:
    served.refer(files[0].read_bytes(), "owl")
  assert error.value.status == 409
