"""A study is its arms and their cells: nothing else under the same name takes its manifest, its report or its history."""

import json
import shutil

import pytest

from ablations.arm import Arm
from ablations.plan import Plan, folder_name, make_plan
from ablations.protocols import PROTOCOLS
from ablations.record import Command, looks
from ablations.store import STUDY_NAME, Store
from cnnkit.errors import UserError


def grid(*dropouts: float):
    def arms(baseline: Arm) -> list[Arm]:
        """How much dropout?"""
        return [baseline, *(baseline.variant(f"dropout {p}", {"dropout": p}, dropout=p) for p in dropouts)]

    return arms


@pytest.fixture
def store(tmp_path, tiny) -> Store:
    return Store.open(tmp_path / "results", data=tiny.fingerprint, data_description=tiny.describe())


def begun(store: Store, data, arms, *, name: str = "g", seeds: int = 2, tuned=None, time: str = "2026-01-01") -> Plan:
    """The study's plan, its manifest written as a run writes it."""
    plan = make_plan(
        arms, name, PROTOCOLS["smoke"], data, store, seeds=range(seeds), arguments=[], now=time, tuned=tuned
    )
    store.write_study(plan.study)
    store.write_command(plan.study.name, plan.command)
    return plan


def test_another_grid_of_the_same_name_gets_a_name_of_its_own(store, tiny):
    first, second = begun(store, tiny, grid(0.1)), begun(store, tiny, grid(0.2))
    assert first.study.name == "g-smoke"
    assert second.study.name.startswith("g-smoke-")
    assert store.study(first.study.name) == first.study
    assert store.study(second.study.name) == second.study
    assert [len(store.commands(name)) for name in store.studies()] == [1, 1]
    again = begun(store, tiny, grid(0.2), time="2026-01-02")
    assert again.study == second.study
    assert begun(store, tiny, grid(0.1), time="2026-01-02").study == first.study


def test_another_winner_of_tuning_gets_a_name_of_its_own(store, tiny):
    one = begun(store, tiny, grid(0.1), tuned={"dropout 0.1": {"learning_rate": 1e-3}})
    other = begun(store, tiny, grid(0.1), tuned={"dropout 0.1": {"learning_rate": 1e-4}})
    assert one.study.name != other.study.name
    assert store.study(one.study.name).tuned == {"dropout 0.1": {"learning_rate": 1e-3}}


def test_raised_numerics_begin_another_study_and_hide_none(store, tiny, monkeypatch):
    before = begun(store, tiny, grid(0.1))
    monkeypatch.setattr("ablations.plan.Cell.of", raised(2))
    after = begun(store, tiny, grid(0.1))
    assert after.study.name != before.study.name
    assert store.study(before.study.name) == before.study


def raised(numerics: int):
    from ablations.cell import Cell

    def of(arm, *, data, split, seed):
        return Cell(spec=arm.spec, recipe=arm.recipe, data=data, split=split, seed=seed, numerics=numerics)

    return of


def test_fewer_seeds_leave_the_manifest_as_it_is_and_more_seeds_add_to_it(store, tiny):
    three = begun(store, tiny, grid(0.1), seeds=3)
    two = begun(store, tiny, grid(0.1), seeds=2, time="2026-01-02")
    assert len(two.cells) == 4
    assert two.study.name == three.study.name
    assert sorted(map(str, store.study("g-smoke").cells)) == sorted(map(str, three.study.cells))
    assert store.study("g-smoke").seeds == 3
    begun(store, tiny, grid(0.1), seeds=5, time="2026-01-03")
    assert store.study("g-smoke").seeds == 5
    assert len(store.study("g-smoke").cells) == 10
    assert [command.seeds for command in store.commands("g-smoke")] == [3, 2, 5]


def test_a_name_that_was_taken_between_plan_and_start_is_refused_in_one_sentence(store, tiny):
    plan = make_plan(grid(0.2), "g", PROTOCOLS["smoke"], tiny, store, seeds=range(1), arguments=[], now="2026-01-01")
    begun(store, tiny, grid(0.1))
    with pytest.raises(UserError, match="holds another study of that name"):
        store.write_study(plan.study)


def test_shards_that_are_copied_together_keep_both_histories(tmp_path, store, tiny):
    other = Store.open(tmp_path / "other", data=tiny.fingerprint, data_description=tiny.describe())
    begun(store, tiny, grid(0.1), time="2026-01-01T00:00:00+00:00")
    begun(other, tiny, grid(0.1), time="2026-01-01T00:00:05+00:00")
    shutil.copytree(other.root, store.root, dirs_exist_ok=True)
    assert [command.time[-8:-6] for command in store.commands("g-smoke")] == ["00", "05"]


@pytest.mark.parametrize(
    ("seeds", "finished", "looked"),
    [
        ([3, 5], [0, 6], [3, 5]),
        ([3, 5], [0, 0], [5]),
        ([3, 2, 3], [0, 6, 6], [3]),
        ([5, 3, 5], [0, 2, 6], [5]),
        ([3], [4], [3]),
        ([3, 3, 4], [0, 3, 6], [3, 4]),
    ],
)
def test_seeds_were_added_after_looking_if_more_were_asked_for_than_ever_before(seeds, finished, looked):
    commands = [
        Command(time=str(place), arguments=[], seeds=count, finished_before=done)
        for place, (count, done) in enumerate(zip(seeds, finished, strict=True))
    ]
    assert looks(commands) == looked


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mein großes grid", "mein-grosses-grid"),
        ("name with spaces", "name-with-spaces"),
        ("深度", "grid"),
        ("..", "grid"),
        ("-x", "x"),
        ("depth_residual", "depth_residual"),
        ("x" * 300, "x" * 56),
        ("a/b\n", "a-b"),
    ],
)
def test_any_name_of_a_grid_gives_a_folders_name(store, tiny, name, folder):
    assert folder_name(name) == folder
    dry = make_plan(grid(0.1), name, PROTOCOLS["smoke"], tiny, None, seeds=range(1), arguments=[], now="2026-01-01")
    real = begun(store, tiny, grid(0.1), name=name)
    assert dry.study.name == real.study.name == f"{folder}-smoke"
    assert STUDY_NAME.fullmatch(real.study.name)
    assert store.study(real.study.name).grid == name


def test_the_manifest_lists_its_cells(store, tiny):
    plan = begun(store, tiny, grid(0.1))
    content = json.loads((store.study_folder("g-smoke") / "study.json").read_text())
    assert content["format"] == 2
    assert [cell["key"] for cell in content["cells"]] == [planned.cell.key for planned in plan.cells]
    assert content["data"]["classes"][0] == "airplane"
    assert content["arms"][1]["changes"] == {"dropout": 0.1}
    assert content["arms"][1]["costs"]["parameters"] > 0
