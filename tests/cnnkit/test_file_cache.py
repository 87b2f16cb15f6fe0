import os
import stat

import numpy as np
import pytest

from cnnkit.file_cache import cached


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "data.parquet"
    file.write_text("one")
    return file


class Reader:
    """Counts how often it reads."""

    def __init__(self, file):
        self.file, self.times = file, 0

    def __call__(self):
        self.times += 1
        return {"text": np.array(self.file.read_text()), "numbers": np.arange(3)}


def test_unchanged_files_are_read_once(cache, file):
    reader = Reader(file)
    first, second = cached([file], reader), cached([file], reader)
    assert reader.times == 1
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_read_again(cache, file, change):
    reader = Reader(file)
    cached([file], reader)
    file.write_text("other" if change == "size" else "two")
    os.utime(file, ns=(1, 1))
    assert str(cached([file], reader)["text"]) == file.read_text()
    assert len([*cache.rglob("*.npz")]) == 1, "the outdated cache is replaced"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated", b"no archive"])
def test_a_damaged_cache_is_computed_anew(cache, file, content):
    reader = Reader(file)
    cached([file], reader)
    next(cache.rglob("*.npz")).write_bytes(content)
    assert str(cached([file], reader)["text"]) == "one"
    assert reader.times == 2


def test_a_truncated_cache_is_computed_anew(cache, file):
    reader = Reader(file)
    cached([file], reader)
    stored = next(cache.rglob("*.npz"))
    stored.write_bytes(stored.read_bytes()[:-200])
    assert str(cached([file], reader)["text"]) == "one"


def test_without_a_cache_folder_it_works_and_leaves_nothing(cache, file):
    cache.write_text("a file in the folder's place")
    assert str(cached([file], Reader(file))["text"]) == "one"
    assert stat.S_ISREG(cache.stat().st_mode)


def test_what_cannot_be_read_is_not_cached(cache, file):
    def broken():
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        cached([file], broken)
    assert not [*cache.rglob("*")]
