"""Takes a study's measures on whatever there is: in this process, or on many cores, GPUs or nodes through Ray.

As in training, what goes to a worker is all that it needs, weights included, and what it finds comes back: nodes share no
folder, and this process alone writes. The numbers are the same wherever a network is asked on the same kind of device.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ablations import files
from ablations.allocator import freed_memory_is_kept
from ablations.display import PlainDisplay
from ablations.gpus import cluster_machine
from ablations.measuring import Advance, Answer, Measure, Measuring, Question, Survey, answer
from ablations.record import Study
from ablations.resources import GIB, PROCESS_BYTES, Machine
from ablations.session import StopOnRequest, logged_to, ray, signals_stop, started_ray
from ablations.store import Store
from ablations.units import duration
from cnnkit.errors import brief
from cnnkit.evaluate import BATCH_SIZE
from cnnkit.search_paths import add_search_paths

WORTH_RAY_SECONDS = 60.0
"""Ray is started for more work than this; to start it and its workers takes about a quarter of it."""
WAIT_SECONDS = 0.5
"""How long a stop may go unheard."""


@dataclass(frozen=True)
class Where:
    """What networks are asked on."""

    machine: Machine
    address: str | None = None
    """A Ray cluster to join; None is this machine."""
    device: str | None = None
    """cpu or cuda; None takes GPUs where there are some."""
    search_paths: tuple[str, ...] = field(default=())
    """Folders of the user's own modules."""

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda" or (self.device is None and bool(self.machine.gpus))

    def at_once(self, threads: int) -> int:
        """How many networks of this machine's can be asked at a time."""
        return max(1, self.machine.gpus if self.on_gpu else self.machine.cores // threads)


def take_measures(
    store: Store, study: Study, measures: Sequence[Measure], where: Where, out: Console, *, always_ray: bool = False
) -> Measuring:
    """Takes the measures of all finished cells that lack them, and says how it goes: a bar with the time left on a terminal, a
    line a cell elsewhere.

    The first cells are asked in this process. Where they show that more than a minute is left and the machine has room for
    several, the others are asked side by side; at an address, all are.

    Args: always_ray: do not wait for what the first cells show.
    Raises: UserError: the results folder cannot be written; Ray does not start or has ended; no cluster answers.
    """
    add_search_paths(list(where.search_paths))
    with files.one_sentence_errors(store.root), _shown(out) as shown:
        survey = Survey(store, study, measures, shown)
        survey.keep_nulls()
        questions = survey.questions()
        if where.address is None and not always_ray:
            with freed_memory_is_kept():
                _ask_here(survey, questions, where)
        if survey.waiting:
            _ask_through_ray(survey, questions, where, out)
    for sentence in (*survey.result.remarks, *(f"not measured: {one}" for one in survey.result.lacking)):
        out.print(sentence, markup=False, soft_wrap=True)
    return survey.result


def _ask_here(survey: Survey, questions: Iterator[Question], where: Where) -> None:
    """Until all are asked, or what is left is worth more processes than this one."""
    device = torch.device("cuda" if where.on_gpu else "cpu")
    for question in questions:
        survey.keep(question, answer(question, survey.measures, device))
        if where.at_once(question.threads) > 1 and survey.waiting > 1 and survey.seconds_left > WORTH_RAY_SECONDS:
            return


# -- through Ray


def _ask_through_ray(survey: Survey, questions: Iterator[Question], where: Where, out: Console) -> None:
    display, stopper, here = PlainDisplay(out), StopOnRequest(), where.machine
    folder = survey.store.study_folder(survey.study.name)
    with (
        signals_stop(stopper, display),
        logged_to(folder / "ray.log"),
        contextlib.suppress(KeyboardInterrupt),
        started_ray(
            where.address, cores=here.cores, gpus=here.gpus, memory=here.memory, display=display, stopper=stopper
        ),
    ):
        machine = here if where.address is None else cluster_machine()
        _ask_side_by_side(survey, questions, Where(machine, where.address, where.device, where.search_paths), stopper)
    if stopper.error is not None:
        raise stopper.error
    survey.result.interrupted = stopper.requested


def _ask_side_by_side(survey: Survey, questions: Iterator[Question], where: Where, stopper: StopOnRequest) -> None:
    # Images and all go to the workers of a node once, and lie in memory that they share.
    measures = ray.put(list(survey.measures))
    asked: dict[Any, Question] = {}
    room = 1
    while not stopper.stop_all():
        # One more than can run: it waits at the workers' door, and no more weights than needed lie in memory.
        while len(asked) <= room and (question := next(questions, None)) is not None:
            asked[_hand_out(question, measures, where)] = question
            room = where.at_once(question.threads)
        if not asked:
            return
        for reference in ray.wait(list(asked), num_returns=1, timeout=WAIT_SECONDS)[0]:
            question = asked.pop(reference)
            if stopper.stop_all():  # the signal may have ended the worker, too
                return
            survey.keep(question, _answer_of(reference, question))


def _hand_out(question: Question, measures: Any, where: Where) -> Any:
    threads = min(question.threads, where.machine.node_cores)
    if where.on_gpu:
        request: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1}
    else:
        request = {"num_cpus": threads, "memory": min(_bytes(question), int(where.machine.memory))}
    task = ray.remote(**request, max_retries=1)(_asked_there)
    return task.remote(question, measures, "cuda" if where.on_gpu else "cpu", where.search_paths)


def _asked_there(question: Question, measures: list[Measure], device: str, search_paths: tuple[str, ...]) -> Answer:
    """Runs in a worker."""
    add_search_paths(list(search_paths))
    return answer(question, measures, torch.device(device))


def _answer_of(reference: Any, question: Question) -> Answer:
    try:
        given: Answer = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError):
        return Answer(lacking=(f"{question.cell}: its process died twice; memory may be short",))
    except Exception as error:  # a measure that another process cannot load, say
        return Answer(lacking=(f"{question.cell}: measuring failed with {brief(error)}",))
    return given


def _bytes(question: Question) -> int:
    """An estimate of the memory that a process needs to ask a network, in bytes: three of the largest maps of a batch.

    Of networks whose maps are not known it takes those of a first layer of 64 channels.
    """
    spec = question.arm.spec
    widths = spec.get("widths") or [64]
    largest = max(width * (int(spec["image_size"]) >> block) ** 2 for block, width in enumerate(widths))
    return PROCESS_BYTES + GIB // 4 + len(question.weights or b"") * 2 + 3 * 4 * BATCH_SIZE * largest


# -- what a person sees


@contextlib.contextmanager
def _shown(out: Console) -> Iterator[Any]:
    """A callback for news: draws a bar on a terminal, prints a line elsewhere."""
    if not out.is_terminal or out.is_jupyter:
        yield lambda advance: out.print(_line(advance), markup=False, soft_wrap=True)
        return
    columns = (TextColumn("measuring"), BarColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("", total=None)

        def draw(advance: Advance) -> None:
            bar.update(task, completed=advance.done, total=advance.total, description=_line(advance), refresh=True)

        yield draw


def _line(advance: Advance) -> str:
    left = f"; about {duration(advance.seconds_left)} left" if advance.done < advance.total else ""
    return f"[{advance.done}/{advance.total}] {advance.cell}: {duration(advance.seconds)}{left}"
