"""Page in a real Chromium: the jobs by clicking, of a real server."""

import base64
import contextlib
import re
import signal
import threading

import httpx2
import numpy as np
import pytest

from tests import chromium, programs

_DROP = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type: "image/png" }));
  return held;
}"""


@contextlib.contextmanager
def _serving(runner, *flags):
  """Yield the address of --task=serve, which is ended by SIGTERM."""
  process = runner.start(None, "--task=serve", *flags, "--port=0", config=None)
  lines, found = [], threading.Event()

  def read():
    for line in process.stderr:
      lines.append(line)
      if line.startswith("Serving "):
        found.set()
    found.set()

  reader = threading.Thread(target=read)
  reader.start()
  try:
    found.wait(120)
    url = re.search(r"http://\S+/", "".join(lines))
    assert url, lines
    yield url[0]
  finally:
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    reader.join()
    process.stdout.close()
    process.stderr.close()
  assert code == 0
  assert lines[-1] == "Ended\n"
  # Stages of its start alone; requests write nothing.
  for line in lines[1:-1]:
    assert re.match(r" *[\d.]+ s  [A-Z]", line), lines


@pytest.fixture
def address(runner, index):
  with _serving(runner, f"--index={index}") as url:
    yield url


@pytest.mark.slow
def test_the_three_jobs(address, files, tmp_path):
  programs.need(chromium.missing(), "chromium")
  broken = tmp_path / "broken.png"
  broken.write_bytes(files[0].read_bytes()[:60])
  said, asked = [], []
  with chromium.opened(viewport={"width": 390, "height": 844}) as page:
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_role("status").wait_for(state="hidden")
    assert "12 pictures of" in page.locator("#about").text_content()

    # An error stands beside its field.
    page.get_by_role("button", name="Search").click()
    error = page.locator("[data-field=query] .error")
    error.wait_for()
    assert error.text_content() == "Type a sentence, or give a picture."
    page.get_by_label("Sentence").fill("a cat")
    page.get_by_role("button", name="Search").click()
    page.locator("#search .grid li").nth(11).wait_for()
    names = page.locator("#search .grid .name").all_text_contents()
    answer = httpx2.post(f"{address}v1/search", json={"query": "a cat"})
    assert names == [x["name"] for x in answer.json()["results"]]
    assert error.is_hidden()
    shown = page.locator("#search .grid img").evaluate_all(
      "images => images.map(image => image.naturalHeight)"
    )
    assert shown == [50] * 12

    # A dropped picture finds itself.
    page.get_by_label("Sentence").fill("")
    data = base64.b64encode(files[7].read_bytes()).decode()
    held = page.evaluate_handle(_DROP, [data, "mine.png"])
    page.locator("#search .zone").dispatch_event("drop", {"dataTransfer": held})
    page.get_by_alt_text("Chosen picture: mine.png").wait_for()
    page.get_by_role("button", name="Search").click()
    first = page.locator("#search .grid li").first
    first.get_by_text(files[7].name, exact=True).wait_for()
    assert first.locator(".small").text_content().startswith("1.000")

    page.get_by_role("tab", name="Classify").click()
    page.get_by_label("Labels").fill("cat\ndog\n\nbee\n")
    page.locator("#classify-image").set_input_files(broken)
    page.get_by_role("button", name="Classify").click()
    error = page.locator("#classify [data-field=image] .error")
    error.wait_for()
    assert "no picture that can be used" in error.text_content()
    page.locator("#classify-image").set_input_files(files[1])
    page.get_by_role("button", name="Classify").click()
    page.locator("#classify .bars li").nth(2).wait_for()
    labels = page.locator("#classify .bars .name").all_text_contents()
    form = {"labels": ["cat", "dog", "bee"]}
    picture = {"image": files[1].read_bytes()}
    answer = httpx2.post(f"{address}v1/classify", data=form, files=picture)
    expected = answer.json()["labels"]
    assert labels == [x["label"] for x in expected]
    widths = page.locator("#classify .bar").evaluate_all(
      "bars => bars.map(bar => parseFloat(bar.style.width))"
    )
    wanted = [100 * x["probability"] for x in expected]
    np.testing.assert_allclose(widths, wanted, rtol=1e-3)

    page.get_by_role("tab", name="Classify").press("ArrowRight")
    page.get_by_label("Text to look for").fill("a cat")
    page.locator("#explain-image").set_input_files(files[2])
    page.get_by_role("button", name="Explain").click()
    page.locator("#explain .legend img").wait_for()
    heights = page.locator("#explain .pair img").evaluate_all(
      "images => Promise.all(images.map(i => i.decode().then(() =>"
      " i.naturalHeight)))"
    )
    assert heights == [256, 256]
    # Nothing is wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth") == 390
  assert all(re.match(rf"{address}|blob:|data:", url) for url in asked), asked
  # Two requests were refused; the policy was not violated.
  assert [line for line in said if "status of 400" not in line] == []
  assert len(said) == 2


@pytest.mark.slow
def test_captions_and_boxes(runner, speaking, files):
  """The box of the script is the upper left quarter of what is seen."""
  programs.need(chromium.missing(), "chromium")
  said = []
  with (
    _serving(runner, f"--init_from={speaking}") as url,
    chromium.opened(viewport={"width": 800, "height": 900}) as page,
  ):
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url)
    page.get_by_role("status").wait_for(state="hidden")
    page.get_by_role("tab", name="Caption").click()
    page.get_by_role("button", name="Write caption").click()
    error = page.locator("#caption [data-field=image] .error")
    error.wait_for()
    assert error.text_content() == "Give a picture."
    page.locator("#caption-image").set_input_files(files[1])
    page.get_by_role("button", name="Write caption").click()
    page.locator("#caption .written").wait_for()
    assert page.locator("#caption .written").text_content() == "fox"
    page.get_by_label("Text to find").fill("owl")
    page.get_by_role("button", name="Find box").click()
    page.locator("#caption .frame").wait_for()
    answer = httpx2.post(
      f"{url}v1/refer",
      data={"text": "owl"},
      files={"image": files[1].read_bytes()},
    ).json()
    picture = page.locator("#caption .boxed img").bounding_box()
    frame = page.locator("#caption .frame").bounding_box()
    across = picture["width"] / answer["width"]
    down = picture["height"] / answer["height"]
    left, top, right, bottom = answer["box"]
    np.testing.assert_allclose(
      [frame["x"] - picture["x"], frame["y"] - picture["y"]],
      [left * across, top * down],
      atol=1,
    )
    np.testing.assert_allclose(
      [frame["width"], frame["height"]],
      [(right - left) * across, (bottom - top) * down],
      atol=1,
    )
  assert [line for line in said if "status of 400" not in line] == []
