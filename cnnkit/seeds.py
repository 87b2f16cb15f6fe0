"""Random numbers that are paired across arms: every stream has a generator of its own, derived from the seed and its name.

Different architectures consume random numbers differently, so a shared stream would give two arms with one
seed different data orders. Nothing here depends on what was drawn before, so a run can go on at any epoch.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream that is called `names` (such as "order", epoch) under `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream `names` under `seed`."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextlib.contextmanager
def python_and_numpy_seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators of Python and numpy; leaves them as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators of torch (on the CPU), Python and numpy; leaves them as they were."""
    with torch.random.fork_rng(devices=[]), python_and_numpy_seeded(seed):
        torch.manual_seed(seed)
        yield
