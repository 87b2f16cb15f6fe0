"""A cell as Tune sees it. One process trains one cell after another, and sends what it has to say to the driver."""

import gc
import time
import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ablations.job import Advance, Failed, Job, News
from ablations.plan import PlannedCell
from ablations.record import CellResult
from ablations.session import tune
from cnnkit.images import Data

SLICE_SECONDS = 1.0
"""How long a trial trains between two reports; a stop waits no longer than that."""
NEWS = "news"
"""Under which name a step's result carries the letter with the news of the cell."""
PARCEL = "parcel"
"""Under which name a trial's configuration carries its cell."""


class Parcel:
    """A cell on its way to the process that trains it, with its newest checkpoint.

    Tune copies and prints configurations, and keeps them until the study's end. So a parcel is its own copy, prints
    shortly, and is emptied of the checkpoint when it has arrived.
    """

    def __init__(self, planned: PlannedCell, job: Job, checkpoint: bytes | None) -> None:
        self.planned, self.job, self.checkpoint = planned, job, checkpoint

    def __deepcopy__(self, memo: object) -> "Parcel":
        return self

    def __repr__(self) -> str:
        return self.job.cell.key

    def unpack(self) -> bytes | None:
        """The checkpoint, which the parcel then holds no longer."""
        checkpoint, self.checkpoint = self.checkpoint, None
        return checkpoint


class Letter:
    """News of a cell on their way to the driver.

    Tune formats all that a trial reports, for a line of its log that nobody sees, and copies it: a checkpoint of 315 MB
    takes seconds to print. So a letter is its own copy and prints shortly.
    """

    def __init__(self, news: News | Failed) -> None:
        self.news = news

    def __deepcopy__(self, memo: object) -> "Letter":
        return self

    def __repr__(self) -> str:
        return type(self.news).__name__


class CellTrial(tune.Trainable):
    """A cell as Tune sees it: a step is about a second of training. One process trains one cell after another."""

    def setup(
        self,
        config: dict[str, Any],
        data: Data,
        search_paths: tuple[str, ...],
        weights: Mapping[str, tuple[str, bytes]] = MappingProxyType({}),
    ) -> None:
        from cnnkit.pretrained import provide
        from cnnkit.search_paths import add_search_paths

        add_search_paths(list(search_paths))
        provide(weights)
        self.data = data
        self._begin(config[PARCEL])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config[PARCEL])
        return True

    def _begin(self, parcel: Parcel) -> None:
        from ablations.trial import run_cell

        self._release()
        self.run: Iterator[News] = run_cell(parcel.job, self.data, parcel.unpack())

    def step(self) -> dict[str, Any]:
        news = self._news()
        done = isinstance(news, CellResult | Failed)
        if done:
            self._release()  # this process may stay idle while another needs the memory
        return {NEWS: Letter(news), "done": done}

    def _news(self) -> News | Failed:
        """The next news that must not be lost, or how far the cell is when the slice of time is over."""
        import torch

        from cnnkit.train import Diverged

        deadline = time.monotonic() + SLICE_SECONDS
        try:
            for news in self.run:
                if not isinstance(news, Advance) or time.monotonic() > deadline:
                    return news
        except Diverged as error:
            return Failed("diverged", str(error), traceback.format_exc(), error.epoch)
        except (MemoryError, torch.OutOfMemoryError) as error:
            return Failed("out of memory", _described(error), traceback.format_exc())
        except Exception as error:  # whatever one cell does must not end the others
            return Failed("failed", _described(error), traceback.format_exc())
        raise AssertionError("a run ends with its result")

    def _release(self) -> None:
        """Lets go of the model, and on a GPU of its memory, before the next cell."""
        import torch

        self.run = iter(())
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def cleanup(self) -> None:
        self._release()


def _described(error: BaseException) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
