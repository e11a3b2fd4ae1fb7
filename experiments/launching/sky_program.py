"""Program of SkyPilot's own Python: check or launch the tasks on stdin.

It imports nothing of this project, whose packages that Python lacks.
"""

import json
import os
import sys

# SkyPilot reports its use to its authors unless told otherwise.
os.environ.setdefault("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
# The folder of this file would come first among modules.
sys.path.pop(0)

import sky  # noqa: E402  # pyrefly: ignore[missing-import]


def main(action: str) -> int:
  """Run `check` or `launch`; print SkyPilot's error where there is one."""
  try:
    configs = json.load(sys.stdin)
    tasks = [sky.Task.from_yaml_config(config) for config in configs]
    for task in tasks:
      task.validate()
    if action == "check":
      return 0
    for task in tasks:
      # Only a managed job is started again, on 75 or after a preemption.
      if any(resources.job_recovery for resources in task.resources):
        request = sky.jobs.launch(task, name=task.name)
      else:
        request = sky.launch(task, cluster_name=task.name)
      ids, _ = sky.stream_and_get(request)
      print(f"{task.name}: started as job {ids}", flush=True)
  except Exception as error:
    print(f"error: SkyPilot: {error}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1]))
