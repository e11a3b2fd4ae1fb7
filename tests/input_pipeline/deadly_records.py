"""Records that end the process which reads them; imports nothing heavy."""

import os


class Records(list):
  """A source for a worker process."""

  def __getitem__(self, index):
    os._exit(9)
