"""Writes the packaged sample of CIFAR-10 anew: `python experiments/make_sample.py --data FOLDER_OF_CIFAR10`.

The first 400 / 50 / 100 images of each class, in the order of their hashes, of the documented split's training,
validation and test images: 4,000 / 500 / 1,000 images, 12 MB, a few seconds.
"""

from pathlib import Path

import tyro

from cnnkit.data import SAMPLE, load, write_sample


def main(data: Path, out: Path = SAMPLE) -> None:
    """Writes the sample of the CIFAR-10 in `data` to `out`."""
    write_sample(load(data), out, train=4_000, validation=500, test=1_000)


if __name__ == "__main__":
    tyro.cli(main)
