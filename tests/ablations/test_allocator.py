"""The allocator's settings while networks are asked."""

import ctypes
import gc

import numpy as np
import pytest

from ablations.allocator import freed_memory_is_kept


@pytest.fixture
def said(monkeypatch):
    """What the C library is told."""
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.environ", {})
    return calls


def test_the_usual_settings_are_back_after_an_error_and_memory_is_given_back(said):
    with pytest.raises(ZeroDivisionError), freed_memory_is_kept():
        assert (-4, 0) in said  # no maps, which are given back when they are freed
        raise ZeroDivisionError
    assert said[-4:] == [(-1, 131_072), (-2, 131_072), (-4, 65_536), "trim"]


def test_settings_of_the_environment_are_left_alone(said, monkeypatch):
    monkeypatch.setattr("os.environ", {"MALLOC_TRIM_THRESHOLD_": "1"})
    with freed_memory_is_kept():
        pass
    assert said == []


def test_large_arrays_come_and_go_while_it_is_in_force():
    with freed_memory_is_kept():
        total = sum(int(np.ones(10_000_000, np.uint8).sum()) for _ in range(3))
    gc.collect()
    assert total == 30_000_000
