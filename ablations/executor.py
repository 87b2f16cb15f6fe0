"""Has a driver's cells trained by Ray Tune, on this machine or on a cluster.

The ledger is the driver's: Tune asks for the next cell when it has room, its own experiment state is thrown away, and what a
cell says and leaves comes back through Ray's object store. So nodes share no folder.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.search import Searcher

from ablations.driver import Driver
from ablations.job import Failed
from ablations.plan import PlannedCell
from ablations.session import StopOnRequest, Trial, tune
from ablations.trainable import NEWS, PARCEL, CellTrial, Parcel
from cnnkit.errors import UserError
from cnnkit.pretrained import contents

MEMORY_WAS_SHORT = ("low on memory", "memory_usage_threshold", "OutOfMemoryError")
"""What Ray says where its memory monitor has ended a process."""

Request = Callable[[PlannedCell], tune.PlacementGroupFactory]


class Handout(Searcher):
    """Gives Tune the next cell when there is room for one, so that no cell is claimed long before it is trained."""

    def __init__(self, watch: "Watch", at_once: int) -> None:
        super().__init__()
        self.watch, self.at_once = watch, at_once

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the callback's

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        driver, stopper = self.watch.driver, self.watch.stopper
        if stopper.stop_all() or self._is_over():
            return Searcher.FINISHED
        started = len(driver.tally.running)
        starting = len(driver.agenda.handed_out) - started
        # One waits for the next place; at the beginning all that fit start together.
        if starting >= max(1, self.at_once - started):
            return None
        with self.watch.errors_end_the_study():
            job = driver.next_job()
            return None if job is None else {PARCEL: Parcel(*job)}
        return Searcher.FINISHED

    def _is_over(self) -> bool:
        with self.watch.errors_end_the_study():
            return self.watch.driver.is_over()
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        pass


class Watch(tune.Callback):
    """Tells the driver what Tune's trials say."""

    def __init__(self, driver: Driver, stopper: StopOnRequest) -> None:
        self.driver, self.stopper = driver, stopper

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is never asked for

    @contextlib.contextmanager
    def errors_end_the_study(self) -> Iterator[None]:
        """An error of the driver's ends the study by the front door; through Tune it would be a traceback in a string."""
        try:
            yield
        except Exception as error:
            self.stopper.end(error)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        parcel: Parcel = trial.config[PARCEL]
        parcel.unpack()
        self.driver.begin(parcel.planned)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        planned = trial.config[PARCEL].planned
        news = result.pop(NEWS).news  # Tune keeps the rest of a trial's last result until the study's end
        with self.errors_end_the_study():
            if isinstance(news, Failed):
                self.driver.fail(planned, news)
            else:
                self.driver.hear(planned, news)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if (
            self.stopper.stop_all()
        ):  # a signal to all processes of the study's, say: the cell stays handed out until the end
            return
        file = Path(trial.error_file) if trial.error_file else None
        log = file.read_text(encoding="utf-8") if file is not None and file.is_file() else ""
        with self.errors_end_the_study():
            self.driver.lose(
                trial.config[PARCEL].planned, log, short_of_memory=any(words in log for words in MEMORY_WAS_SHORT)
            )

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        with self.errors_end_the_study():
            self.driver.renew()


def train(
    driver: Driver,
    stopper: StopOnRequest,
    request: Request,
    *,
    at_once: int,
    scratch: Path,
    search_paths: tuple[str, ...],
    elsewhere: bool = False,
) -> None:
    """Until the driver's agenda is over or a stop is requested. The images, and weights that networks
    start from, go to the trials once, through the object store.

    Args: request: the resources of a cell's trial. at_once: about how many trials the cluster can run side by side.
        scratch: a folder of this machine for what Tune notes; no other node needs to see it. elsewhere: whether trials may run
        on machines that do not see this one's files, so that images in mapped files are sent to them, too.
    Raises: OSError, UserError: the results folder cannot be written, or Ray has ended.
    """
    watch = Watch(driver, stopper)
    data = driver.plan.data.in_memory() if elsewhere else driver.plan.data
    weights = contents(arm.spec for arm in driver.plan.arms)
    trainable = tune.with_parameters(CellTrial, data=data, search_paths=search_paths, weights=weights)
    tuner = tune.Tuner(
        tune.with_resources(trainable, lambda config: request(config[PARCEL].planned)),
        tune_config=tune.TuneConfig(
            search_alg=Handout(watch, at_once),
            num_samples=-1,  # the handout says when it is over
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch / "tune"),
            verbose=0,
            stop=stopper,
            callbacks=[watch],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),  # the driver hands a lost cell out again
        ),
    )
    try:
        with lost_for_any_reason():
            tuner.fit()
    except KeyboardInterrupt:
        stopper.requested = True
    except Exception as error:
        logging.getLogger("ray").exception("Tune has ended")
        last = (str(error).strip().splitlines() or [""])[
            -1
        ]  # Tune's errors are tracebacks; the last line says what it was
        stopper.end(
            UserError(f"Ray Tune has ended unexpectedly ({last}); what is finished stays, and the same command goes on")
        )
    finally:
        with contextlib.suppress(UserError):  # the results folder is gone, say, and why the study ends is known
            driver.close()
    if stopper.error is not None:
        raise stopper.error


@contextlib.contextmanager
def lost_for_any_reason() -> Iterator[None]:
    """A trial whose process is gone has failed, and the others go on, whatever Ray calls the reason.

    Tune knows `RayActorError` alone, and ends with a RuntimeError at the `OutOfMemoryError` of Ray's memory monitor (Ray 2.60), a
    lost object or a dead node.
    """
    handle = RayActorManager._actor_task_failed

    def with_known_error(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=str(exception))
        handle(manager, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = with_known_error
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = handle


def _name(trial: Trial) -> str:
    return f"{trial.config[PARCEL]}-{trial.trial_id}"
