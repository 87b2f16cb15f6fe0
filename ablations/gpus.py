"""Shares of GPUs from each arm's own need of memory, and what a Ray cluster offers."""

import gc

from ablations.plan import PlannedCell
from ablations.resources import GIB, Machine, gpu_share, training_bytes
from ablations.session import ray
from cnnkit.images import Data
from cnnkit.recipe import Recipe
from cnnkit.spec import ConvNetSpec, ModuleSpec


def probe_bytes(
    spec: ConvNetSpec | ModuleSpec, recipe: Recipe, *, stored_size: int = 32, cuda_graphs: bool = False
) -> int:
    """GPU memory that two training steps and an evaluation reserve, in bytes, measured on the GPU of this process.

    Whatever this process has measured before leaves no trace in it.

    Args: stored_size: height and width of the data set's images, in pixels.
    """
    import numpy as np
    import torch

    from cnnkit.evaluate import BATCH_SIZE
    from cnnkit.images import Data, ImageSet
    from cnnkit.model import build
    from cnnkit.rehearsal import noise_description
    from cnnkit.train import Training

    gc.collect()
    torch.cuda.init()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    rng = np.random.default_rng(0)

    def noise(count: int) -> ImageSet:
        pixels = rng.integers(0, 256, (count, spec.in_channels, stored_size, stored_size), dtype=np.uint8)
        return ImageSet(pixels, rng.integers(0, spec.num_classes, count))

    data = Data(
        noise(2 * recipe.batch_size), noise(BATCH_SIZE), noise(BATCH_SIZE), noise_description(spec, stored_size)
    )
    one_epoch = recipe.model_copy(update={"epochs": 1, "split_seed": 0})
    if isinstance(spec, ModuleSpec):
        spec = spec.vary(weights="")  # which bear on no memory
    training = Training(
        build(spec), one_epoch, data, image_size=spec.image_size, seed=0, device="cuda", cuda_graphs=cuda_graphs
    )
    for _ in training.run():
        pass
    return torch.cuda.max_memory_reserved()


def probed_bytes(cells: list[PlannedCell], *, stored_size: int, cuda_graphs: bool) -> dict[str, int]:
    """Memory need of each arm by its name, measured one after the other on one GPU of the cluster."""
    arms = {planned.called: planned.arm for planned in cells}
    task = ray.remote(num_gpus=1, max_calls=1)(
        lambda networks: [
            probe_bytes(spec, recipe, stored_size=stored_size, cuda_graphs=cuda_graphs) for spec, recipe in networks
        ]
    )
    needs = ray.get(task.remote([(arm.spec, arm.recipe) for arm in arms.values()]))
    return dict(zip(arms, needs, strict=True))


def gpu_shares(
    cells: list[PlannedCell], machine: Machine, fraction: float | None, data: Data, *, cuda_graphs: bool = False
) -> dict[str, float]:
    """Share of a GPU for each arm by its name: `fraction` for all, or from each arm's own need of memory: measured
    where there is a GPU, estimated where Ray was only told of one.
    """
    if fraction is not None:
        return {planned.called: fraction for planned in cells}
    images = sum(part.nbytes for part in data.parts)
    if machine.gpu_name:
        needs = probed_bytes(cells, stored_size=data.about.image_size, cuda_graphs=cuda_graphs)
    else:
        needs = {planned.called: training_bytes(planned.arm.spec, planned.arm.recipe) for planned in cells}
    return {name: gpu_share(need + images, machine.gpu_memory) for name, need in needs.items()}


def cluster_machine() -> Machine:
    """The resources of the cluster that this process has joined."""
    resources = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    gpus = int(resources.get("GPU", 0))
    name, memory = "", 0
    if gpus:
        name, memory = ray.get(ray.remote(num_gpus=1, max_calls=1)(_describe_gpu).remote())
    return Machine(
        cores=int(resources.get("CPU", 1)),
        memory=int(min((node.get("memory", 8 * GIB) for node in nodes), default=8 * GIB)),
        smallest_node=int(min((node["CPU"] for node in nodes), default=1)),
        gpus=gpus,
        gpu_memory=memory,
        gpu_name=name,
    )


def _describe_gpu() -> tuple[str, int]:
    import torch

    if not torch.cuda.is_available():
        return "", 16 * GIB
    card = torch.cuda.get_device_properties(0)
    return card.name, card.total_memory
