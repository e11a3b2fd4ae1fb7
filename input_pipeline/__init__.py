"""Data: from files of image-text pairs to batches in host memory."""

from input_pipeline.sources import emoji, folder

# Each has LANGUAGES (None: the data tells) and prepare(cache_dir, image_size),
# which returns a folder as `sources.prepared` describes it.
SOURCES = {
  "emoji": emoji,
  "folder": folder,
}
