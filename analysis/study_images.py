"""The test images of a study, from the data set that it was trained on: results do not hold them."""

from collections.abc import Sequence
from pathlib import Path

from ablations.record import Command
from analysis.outcomes import Outcomes
from analysis.thumbnails import TestImages
from cnnkit.data import is_function, load
from cnnkit.errors import UserError
from cnnkit.images import Data
from cnnkit.search_paths import add_search_paths


def find_images(outcomes: Outcomes, folder: str | None = None) -> TestImages | str:
    """The test images, or in words why they are not there. Nothing is downloaded.

    Args: folder: of the data set; where it is left out, those are tried that the study's commands named, and the usual ones.
    Raises: UserError: `folder` holds other data than the study's, or cannot be read.
    """
    about = outcomes.study
    if about.data is None or about.split is None:
        return "the study does not say which data it was trained on"
    if folder:  # which may be a function's name
        add_search_paths([str(Path.cwd())])
    usual = "sample" if about.data.source == "sample" else "auto"
    for path in [folder] if folder else dict.fromkeys([*_named(about.commands), usual]):
        try:
            data = load(path, options=about.data.options, download=False)
        except UserError:
            if folder:
                raise
            continue
        if data.fingerprint == about.data.fingerprint:
            return images_of(outcomes, data)
        if folder:
            raise UserError(
                f"{folder} holds other data ({data.describe()}) than the study was trained on ({about.data.text})"
            )
    return f"the data set (fingerprint {about.data.fingerprint}) was not found; give its folder by --data"


def images_of(outcomes: Outcomes, data: Data) -> TestImages | str:
    """Those of the data set's test images that the study used."""
    split = outcomes.study.split
    test = data.test if split is None else data.test.subset(split.test, "test images")
    return TestImages(test.images, test.labels)


def _named(commands: Sequence[Command]) -> list[str]:
    """The data that commands were given, the latest first."""
    named = []
    for command in reversed(commands):
        for place, argument in enumerate(command.arguments):
            if argument == "--data" and place + 1 < len(command.arguments):
                named.append(command.arguments[place + 1])
            elif argument.startswith("--data="):
                named.append(argument.removeprefix("--data="))
    return [data for data in named if not is_function(data)]  # which reading a study never calls
