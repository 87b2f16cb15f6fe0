"""The file that a checkpoint is kept in: whose it is, and a hash by which every damage is noticed."""

import hashlib

_MARK = b"ablations checkpoint 1\n"
_KEY, _HASH = 20, 32  # bytes


class DamagedCheckpoint(Exception):
    """The content is not the checkpoint of this cell; the text says why, in a few words."""


def packed(key: str, state: bytes) -> bytes:
    """What the file of a cell's checkpoint holds."""
    body = key.encode() + state
    return _MARK + hashlib.sha256(body).digest() + body


def unpacked(key: str, content: bytes) -> bytes:
    """The state in a checkpoint's file.

    Raises: DamagedCheckpoint: it was altered or cut short, is another cell's, or of a version that kept no hash.
    """
    if not content.startswith(_MARK):
        raise DamagedCheckpoint("its checkpoint is damaged, or of an earlier version")
    digest, body = content[len(_MARK) :][:_HASH], content[len(_MARK) + _HASH :]
    if hashlib.sha256(body).digest() != digest:
        raise DamagedCheckpoint("its checkpoint is damaged")
    if body[:_KEY] != key.encode():
        raise DamagedCheckpoint("its checkpoint is another cell's")
    return body[_KEY:]
