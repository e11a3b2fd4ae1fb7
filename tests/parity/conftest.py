"""Nothing here is collected without torch: see requirements-parity.txt."""

import importlib.util

import jax

from tests.parity import torchvision_loading

collect_ignore_glob = []
if importlib.util.find_spec("torch") is None:
  collect_ignore_glob.append("test_*.py")
else:
  # These programs are large, and are for others to be compared with.
  jax.config.update("jax_disable_most_optimizations", False)
# open_clip's models need torchvision.
if importlib.util.find_spec("torchvision") is None:
  collect_ignore_glob += ["test_open_clip*.py", "test_torchvision*.py"]
elif importlib.util.find_spec("torch") is not None:
  torchvision_loading.load()
