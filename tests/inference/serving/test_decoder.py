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
def speaking_model(speaking):
  return inference.Model.load(speaking, batch_size=8)


@pytest.fixture(scope="module")
def speaker(speaking_model):
  return service.Service(speaking_model, None, {"kind": None})


@pytest.fixture(scope="module")
def heard(speaker):
  """Return a client of the run with a decoder."""
  app = app_lib.make_app(
    app_lib.State("Ready", speaker), gate.Limits(num_bytes=200_000)
  )
  with testclient.TestClient(app, base_url=conftest.URL) as made:
    yield made


def _asked(client, name, file, **texts):
  return client.post(
    f"/v1/{name}", data=texts, files={"image": file.read_bytes()}
  )


def test_answers_are_those_of_python(heard, speaking_model, files):
  answer = _asked(heard, "caption", files[2]).json()
  # The ids of a box are behind those of the text, and are no text.
  assert answer == {
    "model": speaking_model.digest,
    "caption": "fox",
    "is_whole": True,
    "num_dropped": 4,
  }
  assert speaking_model.caption(files[2]) == ["fox"]
  answer = _asked(heard, "refer", files[2], text="owl").json()
  assert answer["box"] == pytest.approx(
    [*speaking_model.refer(files[2], "owl")]
  )
  # 62 x 50: the middle 50 are seen.
  assert (answer["width"], answer["height"]) == (62, 50)
  assert answer["box"][0] == pytest.approx(6, abs=1)
  data = base64.b64decode(answer["picture"].partition(",")[2])
  pixels = np.asarray(Image.open(io.BytesIO(data)))
  np.testing.assert_array_equal(pixels, np.asarray(Image.open(files[2])))
  # Behind two ids comes one of a letter: no box.
  answer = _asked(heard, "refer", files[2], text="ow").json()
  assert answer["box"] is None


def test_facts(heard, speaking_model):
  decoder = heard.get("/v1/info").json()["decoder"]
  assert decoder == {
    "digest": speaking_model.captioner.digest,
    "tasks": ["caption", "referring"],
    "num_tokens": 16,
  }


def test_requests_that_are_refused(heard, files):
  broken = files[0].read_bytes()[:60]
  for name, texts in (("caption", {}), ("refer", {"text": "owl"})):
    answer = heard.post(f"/v1/{name}", data=texts, files={"image": broken})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "image"
  answer = _asked(heard, "refer", files[0])
  assert (answer.status_code, answer.json()["error"]["field"]) == (400, "text")
  # 72 million pixels, of few bytes: they are not decoded.
  large = io.BytesIO()
  Image.new("L", (9000, 8000)).save(large, "PNG")
  answer = heard.post("/v1/caption", files={"image": large.getvalue()})
  assert answer.status_code == 400
  assert "image_too_large" in answer.text or "pixels" in answer.text


def test_a_model_without_a_decoder_says_so(client, files):
  assert client.get("/v1/info").json()["decoder"] is None
  for name, texts in (("caption", {}), ("refer", {"text": "owl"})):
    answer = _asked(client, name, files[0], **texts)
    assert answer.status_code == 409
    assert "there is no decoder" in answer.json()["error"]["message"]


def test_a_decoder_that_did_not_learn_boxes(speaker, files, monkeypatch):
  own = speaker.writer.captioner
  decoder = dataclasses.replace(own.decoder, tasks=("caption",))
  monkeypatch.setattr(own, "decoder", decoder)
  with pytest.raises(fields.RequestError, match="writes no boxes") as error:
    speaker.refer(files[0].read_bytes(), "owl")
  assert error.value.status == 409
