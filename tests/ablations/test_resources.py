import pytest

from ablations.resources import (
    CONTEXT_BYTES,
    GIB,
    SHARES,
    cpu_plan,
    gpu_share,
    memory_cap,
    process_bytes,
    reserved_bytes,
    training_bytes,
)
from cnnkit import BASELINE, Recipe

QUICK = BASELINE.vary(image_size=64), Recipe(precision="bf16")
DOCUMENTED = BASELINE, Recipe()


@pytest.mark.parametrize(
    ("cores", "memory", "threads", "at_once"),
    [(1, 8, 1, 1), (2, 24, 1, 2), (4, 16, 1, 4), (16, 64, 2, 8), (64, 256, 8, 8), (8, 2, 4, 2)],
)
def test_cores_are_divided_by_machine_and_protocol_alone(cores, memory, threads, at_once):
    plan = cpu_plan(*QUICK, cores=cores, memory=memory * GIB)
    assert (plan.threads, plan.at_once) == (threads, at_once)


@pytest.mark.parametrize("cores", [1, 2, 3, 6, 8, 12, 24, 96, 128])
def test_no_core_is_given_twice_and_memory_suffices(cores):
    for spec, recipe in (QUICK, DOCUMENTED):
        plan = cpu_plan(spec, recipe, cores=cores, memory=16 * GIB)
        assert plan.threads * plan.at_once <= cores
        assert plan.at_once == 1 or plan.at_once * training_bytes(spec, recipe) < 16 * GIB


def test_a_share_holds_the_need_with_head_room():
    for need in (GIB // 10, GIB, 3 * GIB, 10 * GIB):
        share = gpu_share(need, 16 * GIB)
        assert share in SHARES
        assert share == 1 or share * 16 * GIB >= need + CONTEXT_BYTES
        assert share == 1 or memory_cap(share, 16 * GIB) * 16 * GIB >= need
    assert gpu_share(30 * GIB, 16 * GIB) == 1
    assert gpu_share(GIB, 80 * GIB) < gpu_share(3 * GIB, 16 * GIB)


def test_shares_fill_a_gpu_without_passing_it():
    assert all(0 < share <= 1 for share in SHARES)
    assert all(int(1 / share + 1e-6) * share <= 1 for share in SHARES)


def test_each_arm_sets_aside_the_memory_that_it_needs_itself():
    recipe = Recipe(precision="fp32")
    small, big = BASELINE.vary(image_size=64), BASELINE.vary(image_size=224, convs_per_block=3)
    machine = 8 * GIB
    at_once = cpu_plan(small, recipe, cores=8, memory=machine).at_once

    def fit(spec) -> int:
        return machine // reserved_bytes(process_bytes(spec, recipe), memory=machine, at_once=at_once)

    assert fit(small) == at_once, "the baseline runs as before"
    assert fit(big) * process_bytes(big, recipe) <= machine < at_once * process_bytes(big, recipe)


def test_an_arm_that_no_node_can_hold_is_tried_with_all_of_it():
    assert reserved_bytes(100 * GIB, memory=8 * GIB, at_once=4) == 8 * GIB
