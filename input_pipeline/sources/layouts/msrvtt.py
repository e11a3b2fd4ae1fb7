"""MSR-VTT (Xu et al., CVPR 2016): captions, questions, multiple choice.

Videos are videoN.mp4, in whichever folder they lie. `captions` has the split
1K-A of JSFusion (Yu et al., ECCV 2018) in the files that CLIP4Clip's release
names: train, of 9,000 videos, or train_7k, each video with all of its captions,
and test, of 1,000 pairs. `official` has the challenge's own split.

`qa` is MSRVTT-QA (Xu et al., ACM MM 2017): "question" and "answer", and as
"answer_type" the question's first word, by which accuracy is reported. `choice`
is multiple choice: "options", 5 captions, and "answer", the index of the right
one, which is the caption.
"""

from collections.abc import Iterator

from input_pipeline.sources.layouts import layout

_TRAIN = {"train": "MSRVTT_train.9k.csv", "train_7k": "MSRVTT_train.7k.csv"}
_TEST = "MSRVTT_JSFUSION_test.csv"
_ALL = "MSRVTT_data.json"
_OFFICIAL = ("train", "validate", "test")
_QUESTIONS = {"train": "train", "validate": "val", "test": "test"}
# Names of the same file in the releases of ClipBERT and of later work.
_CHOICE = ("msrvtt_retrieval_mc_test.jsonl", "msrvtt_mc_test.jsonl")


def _captions(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield a video with its captions; of the test split, one pair each."""
  if split == "test":
    for row in data.table(data.named(_TEST), needs=("video_id", "sentence")):
      yield {**data.needs_video(row["video_id"]), "caption": row["sentence"]}
    return
  table = data.table(data.named(_TRAIN[split]), needs=("video_id",))
  names = [row["video_id"] for row in table]
  captions = _by_video(data)
  for name in names:
    yield _with_captions(data, name, captions)


def _official(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the videos that the file of all captions has in a split."""
  captions = _by_video(data)
  for entry in data.json(data.named(_ALL))["videos"]:
    if entry["split"] == split:
      yield _with_captions(data, entry["video_id"], captions)


def _by_video(data: layout.Folder) -> dict[str, list[str]]:
  """Return the captions of each video, in the order of the file."""
  captions: dict[str, list[str]] = {}
  for entry in data.json(data.named(_ALL))["sentences"]:
    captions.setdefault(entry["video_id"], []).append(entry["caption"])
  return captions


def _with_captions(
  data: layout.Folder, name: str, captions: dict[str, list[str]]
) -> layout.Row:
  if name not in captions:
    message = f"{_ALL} has no caption of {name}"
    return layout.fault(name, "caption_missing", message)
  return {**data.needs_video(name), "caption": captions[name]}


def _qa(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the questions of a split, with the words of their answers."""
  for entry in data.json(data.named(f"{_QUESTIONS[split]}_qa.json")):
    question = entry["question"]
    yield {
      **data.needs_video(f"video{entry['video_id']}"),
      "caption": question,
      "question": question,
      "answer": entry["answer"],
      "answer_type": question.split()[0].lower() if question.split() else None,
    }


def _choice(data: layout.Folder, split: str) -> Iterator[layout.Row]:
  """Yield the videos of the test, each with 5 captions to choose from."""
  del split
  file = data.named(*_CHOICE)
  for entry in data.json_lines(file):
    name, options, answer = (
      entry[field] for field in ("clip_name", "options", "answer")
    )
    if not 0 <= answer < len(options):
      message = f"{file}: the answer of {name} is no index of its options"
      yield layout.fault(name, "record_broken", f"{message}; got {answer}")
      continue
    yield {
      **data.needs_video(name),
      "caption": options[answer],
      "options": options,
      "answer": answer,
    }


_VIDEOS = "videos videoN.mp4 in any folder"
_CLIP4CLIP = "github.com/ArrowLuo/CLIP4Clip"
LAYOUTS = {
  "captions": layout.Layout(
    _captions,
    f"{_TRAIN['train']} or {_TRAIN['train_7k']} with {_ALL}, or {_TEST};"
    f" {_VIDEOS}",
    (*_TRAIN, "test"),
    _CLIP4CLIP,
  ),
  "official": layout.Layout(
    _official, f"{_ALL}; {_VIDEOS}", _OFFICIAL, _CLIP4CLIP
  ),
  "qa": layout.Layout(
    _qa,
    f"{{train,val,test}}_qa.json; {_VIDEOS}",
    (*_QUESTIONS,),
    "github.com/xudejing/video-question-answering",
  ),
  "choice": layout.Layout(
    _choice,
    f"{' or '.join(_CHOICE)}; {_VIDEOS}",
    (),
    "github.com/jayleicn/ClipBERT",
  ),
}
