"""What a trial needs of the machine: threads and trials at once on CPUs, a share of a GPU on GPUs."""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ablations.cgroups import core_limit, memory_limit
from cnnkit.cost import activation_bytes, cost
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec

GIB = 2**30
SHARES = (0.1, 0.2, 0.25, 0.33, 0.5, 1.0)
"""Shares of a GPU that trials get. Few values, so that a worker process can go on to the next trial of its size; none
below a tenth, since that many trials at once already keep a GPU's arithmetic busy."""
HEAD_ROOM = 1.2
"""What is planned beyond the measured or estimated need: fragmentation, and algorithms with larger work spaces."""
CONTEXT_BYTES = GIB * 3 // 4
"""A CUDA context and the libraries' kernels, which come on top of what PyTorch's allocator counts."""
PROCESS_BYTES = GIB * 3 // 4
"""A worker process on the CPU with torch imported, without its model and data."""


@dataclass(frozen=True)
class CpuPlan:
    """How the CPU's cores are divided. It follows from the machine and the protocol alone, never from the cells that are
    left, because trained numbers depend on the number of threads.
    """

    threads: int
    at_once: int


def cpu_plan(spec: ConvNetSpec | ModuleSpec, recipe: Recipe, *, cores: int, memory: int) -> CpuPlan:
    """The division of `cores` with the highest total throughput that fits into `memory` bytes.

    One thread a trial wastes nothing on waiting for other threads (two trials of one thread were 8 % faster
    than one of two at 64 pixels, 5 % at 224). From 16 cores on, a trial gets an eighth of them (not measured), so
    that the last trials of a study do not leave most of the machine idle. `spec` and `recipe` are the baseline's.
    """
    threads = max(1, cores // 8)
    at_once = max(1, min(cores // threads, int(memory // process_bytes(spec, recipe))))
    if at_once < cores // threads:  # memory is what limits: the cores that are left help the trials that fit
        threads = cores // at_once
    return CpuPlan(threads, at_once)


def process_bytes(spec: ConvNetSpec | ModuleSpec, recipe: Recipe) -> int:
    """An estimate of the memory of a process that trains this on the CPU, in bytes."""
    return PROCESS_BYTES + training_bytes(spec, recipe)


def reserved_bytes(need: int, *, memory: int, at_once: int) -> int:
    """The memory of a node that is set aside for a trial, in bytes: as many of `at_once` equal parts as hold `need`.

    In equal parts, so that a worker process can go on to the next trial of its size; at most all of them, so that the trial
    is run at all.
    """
    part = memory // at_once
    return part * min(at_once, max(1, -(-need // part)))


@dataclass(frozen=True)
class Machine:
    """What trials may use, all nodes together."""

    cores: int
    memory: int
    """Bytes, of the smallest node."""
    smallest_node: int | None = None
    """Cores of the smallest node; None where there is one node."""
    gpus: int = 0
    gpu_memory: int = 0
    """Bytes of the smallest GPU."""
    gpu_name: str = ""

    @property
    def node_cores(self) -> int:
        """Cores of the smallest node."""
        return self.smallest_node or self.cores

    @property
    def device_type(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @classmethod
    def this(cls) -> "Machine":
        """The machine that this process runs on, GPUs included. Imports torch."""
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cards = [torch.cuda.get_device_properties(i) for i in range(count)]
        return cls(
            cores=machine_cores(),
            memory=machine_memory(),
            gpus=count,
            gpu_memory=min((card.total_memory for card in cards), default=0),
            gpu_name=cards[0].name if cards else "",
        )


def gpu_is_visible() -> bool:
    """Whether an NVIDIA driver offers a GPU; asked without importing torch."""
    return (
        shutil.which("nvidia-smi") is not None
        and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1")
        and any(Path("/proc/driver/nvidia/gpus").glob("*"))
    )


def machine_memory() -> int:
    """The memory that this process may use, in bytes: the machine's, or its container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, memory_limit() or total)


def machine_cores() -> int:
    """The cores that this process may use: the machine's, or those that its container or a scheduler leaves it. A part of a
    core counts as one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, math.ceil(core_limit() or cores))


def training_bytes(spec: ConvNetSpec | ModuleSpec, recipe: Recipe) -> int:
    """An estimate of a training step's memory, in bytes: weights, gradients, two moments, the maps that are kept, and the
    gradients of the largest maps. The images of the data set and the process itself are not in it.
    """
    width = 4 if recipe.precision == "fp32" else 2
    parameters = cost(spec).parameters
    low_precision_copy = 0 if width == 4 else parameters * width
    kept = activation_bytes(spec, recipe.batch_size, bytes_per_number=width, frozen=recipe.is_frozen)
    if isinstance(spec, ModuleSpec):
        gradients_of_maps = kept // 4  # which map is the largest is not known
    else:
        largest_map = max(channels * (spec.image_size >> block) ** 2 for block, channels in enumerate(spec.widths))
        gradients_of_maps = 3 * recipe.batch_size * largest_map * width
    if recipe.is_frozen:  # neither gradients nor moments, and maps that are dropped as soon as the next ones are there
        passing = activation_bytes(spec, recipe.batch_size, bytes_per_number=width) // 4
        return parameters * 4 + low_precision_copy + kept + passing
    return parameters * 16 + low_precision_copy + kept + gradients_of_maps


def gpu_share(need: int, gpu_memory: int) -> float:
    """The smallest of `SHARES` that holds `need` bytes with head-room and a CUDA context; 1 where none does."""
    wanted = (need * HEAD_ROOM + CONTEXT_BYTES) / gpu_memory
    return next((share for share in SHARES if share >= wanted), 1.0)


def memory_cap(share: float, gpu_memory: int) -> float:
    """The share of the GPU's memory that the allocator may take, the context having taken its part."""
    return max(0.01, share - CONTEXT_BYTES / gpu_memory)
