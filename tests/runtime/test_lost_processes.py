"""Lost processes are noticed, those that leave as they should are not."""

import queue
import socket
import threading

import pytest

from runtime import lost_processes

_TOKEN = "0123abcd"


@pytest.fixture
def star():
  """Return three connected Peers, what each reports, and their sockets."""
  lost = [queue.SimpleQueue() for _ in range(3)]
  members = [
    lost_processes.Peers(queue.put, lambda *said, queue=queue: queue.put(said))
    for queue in lost
  ]
  listener = members[0].listen()
  port = listener.getsockname()[1]
  # A stranger, who must not take a place.
  stranger = socket.create_connection(("127.0.0.1", port))
  stranger.sendall(b"hello 1\n")
  thread = threading.Thread(
    target=members[0].accept, args=(listener, _TOKEN, 2, 20)
  )
  thread.start()
  for process in (1, 2):
    members[process].connect(
      ["no.such.invalid", "127.0.0.1"], port, _TOKEN, process
    )
  thread.join()
  stranger.close()
  yield members, lost
  for member in members:
    member.leave()
    for connection in member._sockets.values():
      connection.close()


def _die(member):
  """Close its connections as the kernel does when a process is killed."""
  member._leaving = True
  for connection in member._sockets.values():
    connection.shutdown(socket.SHUT_RDWR)


def test_all_hear_of_a_lost_process(star):
  members, lost = star
  _die(members[2])
  assert lost[0].get(timeout=20) == 2
  assert lost[1].get(timeout=20) == 2


@pytest.mark.parametrize("stopped", [0, 2])
def test_all_take_over_the_code_of_a_process_that_was_asked_to_end(
  star, stopped
):
  members, lost = star
  members[stopped].stop(stopped, 75)
  for other in {0, 1, 2} - {stopped}:
    assert lost[other].get(timeout=20) == (stopped, 75)
  _die(members[stopped])  # which nobody takes for a loss any more
  with pytest.raises(queue.Empty):
    lost[1].get(timeout=0.5)


def test_all_hear_of_the_loss_of_the_first(star):
  members, lost = star
  _die(members[0])
  assert lost[1].get(timeout=20) == 0
  assert lost[2].get(timeout=20) == 0


def test_one_that_leaves_is_not_lost(star):
  members, lost = star
  members[1].leave()
  _die(members[1])
  _die(members[2])
  # The first loss that is told is the real one.
  assert lost[0].get(timeout=20) == 2


def test_addresses_name_this_machine():
  found = lost_processes.addresses()
  assert socket.gethostname() in found
  assert found[-1] == "127.0.0.1"
