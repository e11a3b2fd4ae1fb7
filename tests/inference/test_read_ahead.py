"""Work in threads: results in order, errors where they are due, no hoarding."""

import threading

import pytest

from inference import read_ahead


def test_results_are_in_order_and_few_wait():
  taken = []

  def items():
    for number in range(50):
      taken.append(number)
      yield number

  late = threading.Event()

  def work(number):
    if number == 0:  # the others overtake it
      late.wait(5)
    elif number == 3:
      late.set()
    return number * 2

  with read_ahead.mapped(work, items(), 8) as results:
    assert next(results) == 0
    assert len(taken) <= 9
    assert list(results) == [number * 2 for number in range(1, 50)]


def test_an_error_is_raised_where_its_result_is_due():
  with read_ahead.mapped(lambda x: 1 // x, [2, 1, 0, 1], 4) as results:
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
      next(results)


def test_nothing_of_nothing():
  with read_ahead.mapped(str, [], 4) as results:
    assert list(results) == []
