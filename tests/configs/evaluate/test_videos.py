"""The suite of videos is sections that a config can use."""

from configs import florence
from configs.evaluate import videos
from configs.parts import sources
from input_pipeline.sources import public_layout, source_config
from training import config as config_lib


def test_the_suite_fits_florence(tmp_path):
  config = florence.get_config()
  folders = dict.fromkeys(videos.SETS, str(tmp_path))
  config.evaluate.sets = videos.suite(
    sources.source(), folders, tower="inflated"
  )
  checked = config_lib.from_mapping(config.to_dict())
  checked.evaluate.check()
  checked.evaluate.check_videos(checked.model)
  assert {*checked.evaluate.sets} == {"msrvtt", "didemo", "activitynet"}
  for section in checked.evaluate.retrieval_sets.values():
    assert section.video.views.num == 12
    context = source_config.SourceContext("source", tmp_path, image_size=1)
    splits = public_layout.splits(section.source, context)
    assert section.source.split in splits
