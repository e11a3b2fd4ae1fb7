"""Check of a source's first examples before a run begins."""

from collections.abc import Sequence

from input_pipeline import captions, faults
from input_pipeline import languages as languages_lib
from input_pipeline.images import image_ops
from input_pipeline.sources import record as record_lib
from input_pipeline.sources import source_config

# Most examples that are read: from a distant bucket, they take seconds.
NUM_PROBED = 100


def check(
  name: str,
  source: source_config.SourceConfig,
  records: record_lib.Records,
  languages: Sequence[str],
) -> None:
  """Raise ValueError if none of the first examples can be trained on.

  One example with a caption in one of the languages and one with an image that
  can be decoded are enough.
  """
  num_probed = min(len(records), NUM_PROBED)
  where = f"the first {num_probed} examples of data.sources.{name}"
  present: set[str] = set()
  has_image = False
  errors: list[faults.ExampleError] = []
  for index in range(num_probed):
    try:
      record = records[index]
      present |= {
        language
        for language, texts in record.texts.items()
        if not all(map(captions.is_blank, texts))
      }
      if not has_image:
        with faults.located(record.origin):
          image_ops.decode(record.image)
        has_image = True
    except faults.ExampleError as error:
      errors.append(error)
    if has_image and any(
      languages_lib.texts_in(dict.fromkeys(present, ("",)), language)
      for language in languages
    ):
      return
  if len(errors) == num_probed:
    raise ValueError(
      f"none of {where} can be used: {errors[0].kind}: {errors[0]}"
    )
  if not present:
    raise ValueError(
      f"none of {where} has a caption; data.sources.{name}.caption says where "
      f"captions are; got {list(source.caption)}"
    )
  raise ValueError(
    f"data.languages must be some of {sorted(present)}, in which {where} have "
    f"captions; got {list(languages)}"
  )
