"""A cell as Tune sees it. One process trains one cell after another."""

import gc
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.cell import Cell
from ablations.record import Failure
from ablations.session import tune
from ablations.store import Store
from cnnkit.data import Data

SLICE_SECONDS = 1.0
"""How long a trial trains between two reports; a stop waits no longer than that."""


@dataclass(frozen=True)
class Common:
    """What all trials of a run have in common."""

    root: str
    protocol: str
    run: str
    """Names this run of the study; its trials may take over one another's cells when a process or a node dies."""
    keep_weights: bool
    search_paths: list[str]
    """Folders of the user's own modules."""


class CellTrial(tune.Trainable):
    """A cell as Tune sees it: a step is about a second of training. One process trains one cell after another."""

    def setup(self, config: dict[str, Any], data: Data, common: "Common") -> None:
        from cnnkit.search_paths import add_search_paths

        add_search_paths(common.search_paths)
        self.data, self.store, self.common = data, Store(Path(common.root)), common
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        from ablations.trial import Placement, run_cell

        self._release()
        trial = config["trial"]
        self.cell, self.arm = Cell.model_validate(trial["cell"]), trial["arm"]
        key = self.cell.key
        self.claimed = not self.store.is_finished(key) and self.store.claim(key, self.common.run)
        if not self.claimed:
            return  # another study has trained it by now, or is training it
        self.run = run_cell(
            self.cell,
            self.data,
            self.store,
            arm=self.arm,
            protocol=self.common.protocol,
            placement=Placement.model_validate(trial["placement"]),
            keep_weights=self.common.keep_weights,
        )

    def step(self) -> dict[str, Any]:
        from cnnkit.train import Diverged

        deadline = time.monotonic() + SLICE_SECONDS
        self.store.touch(self.cell.key)
        try:
            for progress, accuracy in self.run:
                if time.monotonic() > deadline:
                    return {
                        "epoch": progress.epoch,
                        "share": (progress.epoch - 1 + progress.update / progress.updates) / self.cell.recipe.epochs,
                        "validation_accuracy": accuracy,
                    }
        except Diverged as error:
            self._fail("diverged", str(error), error.epoch)
        except Exception as error:  # whatever one cell does must not end the others
            self._fail("failed", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}", None)
        self._release()
        return {"done": True}

    def _fail(self, kind: str, sentence: str, epoch: int | None) -> None:
        failure = Failure.model_validate(
            {
                "key": self.cell.key,
                "arm": self.arm,
                "seed": self.cell.seed,
                "kind": kind,
                "sentence": sentence,
                "epoch": epoch,
            }
        )
        self.store.write_failure(failure, traceback.format_exc())
        self.store.release(self.cell.key)

    def _release(self) -> None:
        """Lets go of the model, and on a GPU of its memory, before the next cell."""
        import torch

        self.run = iter(())
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def cleanup(self) -> None:
        self._release()
        if self.claimed:
            self.store.release(self.cell.key)
