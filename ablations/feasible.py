"""Plans that no machine brings to an end, refused in one sentence before anything is begun."""

from ablations.plan import Plan
from ablations.resources import Machine, cpu_plan, training_bytes
from ablations.statement import GUESSED_PACE, Pace, expected_seconds
from ablations.units import LONGEST, duration, size
from cnnkit.errors import UserError

TOO_LARGE = 4
"""Times the machine's memory. Needs are estimated, but not that badly; what is between is a warning."""
FASTEST_GPU = 1e15
"""Multiply-adds a second, more than any card's."""
LARGEST_CLUSTER = 1_000
"""Times this machine."""


def check(plan: Plan, machine: Machine, *, elsewhere: bool) -> None:
    """Args: elsewhere: on a cluster, of which nothing is known yet.

    Raises: UserError: the cells would take decades, or an arm needs many times the machine's memory.
    """
    if not elsewhere:
        _check_memory(plan, machine)
    _check_time(plan, machine, LARGEST_CLUSTER if elsewhere else 1)


def _check_memory(plan: Plan, machine: Machine) -> None:
    memory = machine.gpu_memory if machine.gpus else machine.memory
    for arm in plan.arms if memory else ():
        need = training_bytes(arm.spec, arm.recipe)
        if need > TOO_LARGE * memory:
            raise UserError(
                f"arm {arm.name!r} needs about {size(need, 'B')} of memory in training, and "
                f"{'a GPU' if machine.gpus else 'this machine'} has {size(memory, 'B')}; give smaller widths, batch_size or "
                f"image_size"
            )


def _check_time(plan: Plan, machine: Machine, machines: int) -> None:
    spec, recipe = plan.baseline.spec, plan.baseline.recipe
    cpu = cpu_plan(spec, recipe, cores=machine.cores, memory=machine.memory)
    fastest = FASTEST_GPU if machine.gpus else GUESSED_PACE[recipe.precision] * cpu.threads
    seconds = expected_seconds(plan, machine, cpu, Pace(fastest * machines, "a guess"))
    if seconds > LONGEST:
        where = "the largest cluster" if machines > 1 else "this machine"
        epochs = max(planned.arm.recipe.epochs for planned in plan.missing)
        raise UserError(
            f"{len(plan.missing):,} cells of up to {epochs:,} epochs would take about {duration(seconds)} on {where}; give fewer "
            f"epochs, seeds or arms, or smaller networks"
        )
