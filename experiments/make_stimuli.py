"""Writes the packaged cue-conflict stimuli anew: `python experiments/make_stimuli.py --stimuli FOLDER_OF_CUE_CONFLICT`.

The 245 stimuli of the seven categories that CIFAR-10 has too, as JPEG of quality 95 without chroma subsampling (10.5 MB; on
average 37 dB away from the 25 MB of PNG, at 32 pixels 0.2 of 255 grey levels), and the silhouettes of their 67 shapes.
A few seconds.
"""

from pathlib import Path

import tyro

from analysis.stimuli import PACKAGED, read_stimuli, write_packaged
from cnnkit.data import CLASSES


def main(stimuli: Path, out: Path = PACKAGED) -> None:
    """Writes those of the stimuli in a folder in the public layout to `out` that CIFAR-10's classes can name."""
    write_packaged(read_stimuli(stimuli).of_classes(CLASSES), out)


if __name__ == "__main__":
    tyro.cli(main)
