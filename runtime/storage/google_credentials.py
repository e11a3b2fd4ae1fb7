"""Credentials of Google Cloud Storage, looked for within seconds.

Without any, gcsfs asks the metadata server of a machine of Google's many times,
and then the bucket without credentials, as a public one allows.
"""

import importlib
import os
import pathlib

import fsspec

# Word of gcsfs for a client without credentials.
_NONE = "anon"


def are_there() -> bool:
  """Return whether there are any; without, gcsfs does not look again."""
  # One request of three seconds; a machine of Google's answers at once. What
  # gcsfs imports reads the variable as it is imported.
  os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
  try:
    importlib.import_module("gcsfs")
  except ModuleNotFoundError:
    return True  # whoever needs it says so
  if "STORAGE_EMULATOR_HOST" in os.environ:
    return True  # an emulator wants none
  settings = fsspec.config.conf.setdefault("gs", {})
  if settings.get("token"):  # of the user, or of an earlier call
    return settings["token"] != _NONE
  try:
    importlib.import_module("google.auth").default()
    return True
  except importlib.import_module("google.auth.exceptions").GoogleAuthError:
    pass
  if pathlib.Path("~/.gcs_tokens").expanduser().exists():  # of gcsfs itself
    return True
  settings["token"] = _NONE
  return False
