"""Select training pairs from a noisy pool by a recipe's steps."""

from tasks import flags

FLAGS = (
  flags.CONFIG,
  flags.WORKDIR,
  flags.ENGINE,
  flags.NUM_WORKERS,
  flags.JSON,
)


def run() -> int:
  """Run --task=curate."""
  values, folder = flags.needed_values(), flags.workdir()
  from curation import recipe, runner

  return runner.run(
    recipe.checked(values, recipe.check_paths),
    folder,
    engine=flags.ENGINE.value,
    num_workers=flags.num_workers(),
    as_json=flags.JSON.value,
  )
