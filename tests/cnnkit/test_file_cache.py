import io
import os
import stat
import subprocess
import sys
import zipfile

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


def test_a_file_that_was_changed_and_dated_back_is_read_again(cache, file):
    before = file.stat()
    cached([file], Reader(file))
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert str(cached([file], Reader(file))["text"]) == "two"


def test_a_file_that_changes_while_it_is_read_is_not_cached(cache, file):
    def changing():
        file.write_text("other")
        return {"text": np.array("one")}

    cached([file], changing)
    assert str(cached([file], Reader(file))["text"]) == "other"


@pytest.mark.parametrize("place", range(0, 1_000, 37))
def test_a_flipped_bit_in_the_cache_is_never_believed(cache, file, place):
    reader = Reader(file)
    right = cached([file], reader)
    stored = next(cache.rglob("*.npz"))
    content = bytearray(stored.read_bytes())
    content[place % len(content)] ^= 4
    stored.write_bytes(content)
    again = cached([file], reader)
    assert again.keys() == right.keys()
    assert all(np.array_equal(again[name], right[name]) for name in right)


def test_a_cache_that_claims_to_be_larger_than_any_memory_is_computed_anew(cache, file):
    cached([file], Reader(file))
    stored = next(cache.rglob("*.npz"))
    with zipfile.ZipFile(stored, "w") as archive:
        for name in ("stamp", "text", "numbers"):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
            archive.writestr(f"{name}.npy", head.getvalue())
    assert str(cached([file], Reader(file))["text"]) == "one"


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to itself", "device"])
def test_what_stands_in_the_place_of_the_cache_does_no_harm(cache, file, kind):
    cached([file], Reader(file))
    stored = next(cache.rglob("*.npz"))
    stored.unlink()
    match kind:
        case "pipe":
            os.mkfifo(stored)
        case "folder":
            stored.mkdir()
        case "link to itself":
            stored.symlink_to(stored)
        case "device":
            stored.symlink_to("/dev/zero")
    assert str(cached([file], Reader(file))["text"]) == "one"


def test_the_cache_of_another_user_is_not_believed(cache, file, monkeypatch):
    reader = Reader(file)
    cached([file], reader)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    cached([file], reader)
    assert reader.times == 2


def test_a_full_disk_leaves_nothing(cache, file, monkeypatch):
    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert str(cached([file], Reader(file))["text"]) == "one"
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_what_killed_processes_left_is_removed_in_time(cache, file):
    cached([file], Reader(file))
    stored = next(cache.rglob("*.npz"))
    old, new = stored.with_name("a.unfinished"), stored.with_name("b.unfinished")
    for left in (old, new):
        left.touch()
    os.utime(old, (1, 1))
    file.write_text("two")
    cached([file], Reader(file))
    assert not old.exists()
    assert new.exists()


def test_processes_that_write_at_once_leave_a_whole_cache(cache, file):
    code = (
        f"import numpy as np, sys; from pathlib import Path; from cnnkit.file_cache import cached\n"
        f"for i in range(20): cached([Path({str(file)!r})], lambda: {{'text': np.array('one'), 'n': np.arange(10**5)}})\n"
        f"import os; [os.unlink(p) for p in Path({str(cache)!r}).rglob('*.npz') if len(sys.argv) > 1]"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, *["x"] * (i % 2)]) for i in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    reader = Reader(file)
    assert str(cached([file], reader)["text"]) == "one"
    assert [path.name for path in cache.rglob("*.unfinished")] == []


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
