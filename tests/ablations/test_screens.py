"""Grids that are screening designs: their arms, what a manifest keeps of them, and what is refused before anything is trained."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from ablations.aliasing import strings, what_is_clear
from ablations.cell import Cell, SplitSizes
from ablations.designs import ScreeningDesign, folded
from ablations.grid_files import load_grid
from ablations.grids import GRIDS, arms_of, layout_of, leave_one_out, screen
from ablations.plan import layout_for, make_plan
from ablations.protocols import PROTOCOLS
from ablations.record import Study
from ablations.resources import Machine
from ablations.running import Settings, prepare_study
from ablations.screens import TwoLevelFactor, screened
from ablations.statement import statement, table_of_design
from analysis.looks import plan_looks
from cnnkit.description import cifar10
from cnnkit.errors import UserError
from cnnkit.recipe import NO_AUGMENTATION

SMOKE = PROTOCOLS["smoke"]
DATA = cifar10(fingerprint="0", source="full")
SPLIT = SplitSizes(train=500, validation=200, test=500)


def key(arm) -> str:
    return Cell.of(arm, data="f", split=SPLIT, seed=0).key


def plan_of(tiny, grid="screen", protocol=SMOKE):
    return make_plan(GRIDS[grid], grid, protocol, tiny, None, seeds=range(3), arguments=[], now="2026-01-01")


# -- the built-in


def test_screen_has_seven_parts_in_sixteen_runs_the_baseline_first():
    layout = screen(SMOKE.baseline())
    assert layout.screening.names == (
        "batch norm", "dropout", "weight decay", "augmentation", "hidden layer", "last block", "pooled head",
    )  # fmt: skip
    assert len(layout.arms) == 16
    assert layout.arms[0].is_baseline
    assert [run.arm for run in layout.screening.runs] == [arm.name for arm in layout.arms]
    assert layout.notes == ()


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_runs_are_what_their_levels_say(protocol):
    baseline = protocol.baseline()
    for arm in screen(baseline).arms:
        level = arm.levels
        assert arm.spec.batch_norm is level["batch norm"]
        assert arm.spec.dropout == (0.5 if level["dropout"] else 0)
        assert arm.recipe.weight_decay == (1e-4 if level["weight decay"] else 0)
        assert (arm.recipe.augmentation == NO_AUGMENTATION) is not level["augmentation"]
        assert arm.spec.hidden_width == (512 if level["hidden layer"] else 0)
        assert arm.spec.widths == baseline.spec.widths[: 4 if level["last block"] else 3]
        assert arm.spec.head == ("pool" if level["pooled head"] else "flatten")


def test_columns_are_those_of_a_hadamard_matrix_and_its_negative():
    x = np.where(np.array(screen(SMOKE.baseline()).screening.combinations), 1, -1)
    assert np.array_equal(x.T @ x, 16 * np.eye(7))
    assert np.array_equal(x[8:], -x[:8])


def test_runs_share_their_cells_with_other_grids():
    runs = {key(arm) for arm in screen(SMOKE.baseline()).arms}
    others = arms_of(leave_one_out, SMOKE.baseline())
    assert key(others[0]) in runs
    assert key(screen(SMOKE.baseline()).arms[0]) == key(others[0])


def test_names_say_in_short_what_a_run_has_otherwise():
    names = [arm.name for arm in screen(SMOKE.baseline()).arms]
    assert names[0] == "baseline"
    assert "no norm, decay, hidden; with pooled" in names
    assert max(map(len, names)) <= 60
    assert len(set(names)) == 16


# -- baselines that lack a part


def test_a_part_that_the_baseline_has_not_is_said_in_a_sentence_and_the_others_are_screened():
    layout = screen(SMOKE.changed(spec={"dropout": 0.0, "head": "pool"}).baseline())
    assert layout.screening.names == ("batch norm", "weight decay", "augmentation", "hidden layer", "last block")
    assert layout.notes == (
        "The baseline has no dropout, so that is not among its parts.",
        "The baseline has a pooled head already, so that is not among the parts.",
    )


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"spec": {"dropout": 0.0}}, "The baseline has no dropout"),
        ({"spec": {"batch_norm": False}}, "The baseline has no batch norm"),
        ({"spec": {"hidden_width": 0}}, "The baseline has no hidden layer"),
        ({"spec": {"widths": (32,)}}, "The baseline has no block but one"),
        ({"recipe": {"weight_decay": 0.0}}, "The baseline has no weight decay"),
        ({"recipe": {"augmentation": NO_AUGMENTATION}}, "The baseline has no augmentation"),
    ],
)
def test_leave_one_out_leaves_out_what_there_is(change, note):
    layout = layout_of(leave_one_out, SMOKE.changed(**change).baseline())
    assert len(layout.arms) == 6
    (said,) = layout.notes
    assert said.startswith(note)


def test_a_baseline_without_any_part_is_refused_in_one_sentence():
    bare = SMOKE.changed(
        spec={"dropout": 0.0, "batch_norm": False, "hidden_width": 0, "widths": (8,)},
        recipe={"weight_decay": 0.0, "augmentation": NO_AUGMENTATION},
    )
    with pytest.raises(UserError, match="none of the parts"):
        leave_one_out(bare.baseline())
    with pytest.raises(UserError, match="takes 2 to 24 parts, got 1"):
        screen(bare.baseline())


def test_notes_are_said_before_the_study_and_kept_with_it(tiny):
    plan = plan_of(tiny, protocol=SMOKE.changed(spec={"dropout": 0.0}))
    lines = statement(plan, Machine.this(), Path("results"), why_protocol="as asked", best_difference="", shard=None)
    note = "The baseline has no dropout, so that is not among its parts."
    assert ("note", note) in lines
    assert plan.study.notes == [note]


# -- what a manifest keeps


def test_the_manifest_keeps_the_design_and_is_read_back(tiny):
    study = plan_of(tiny).study
    back = Study.model_validate_json(study.model_dump_json())
    assert back.screening == screen(SMOKE.baseline()).screening
    assert back.screening.factors[0].levels == (True, False)
    assert back.screening.factors[-1].levels == (False, True)
    levels = {arm.name: arm.levels for arm in back.arms}
    for run in back.screening.runs:
        expected = {f.name: f.levels[not at] for f, at in zip(back.screening.factors, run.at_first, strict=True)}
        assert levels[run.arm] == expected


def test_other_grids_keep_none(tiny):
    assert plan_of(tiny, "depth").study.screening is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda runs: runs[:-1],
        lambda runs: [],
        lambda runs: [runs[0], *runs[2:], runs[1]],
        lambda runs: [{**runs[0], "arm": runs[1]["arm"]}, *runs[1:]],
        lambda runs: [{**run, "at_first": run["at_first"][:-1]} for run in runs],
    ],
)
def test_what_is_no_folded_design_is_not_read_as_one(harm):
    written = screen(SMOKE.baseline()).screening.model_dump()
    with pytest.raises(ValidationError):
        ScreeningDesign.model_validate({**written, "runs": harm(list(written["runs"]))})


# -- what is clear of what


def test_a_dry_run_shows_levels_runs_and_strings(tiny):
    plan = plan_of(tiny)
    out = Console(file=io.StringIO(), width=100)
    out.print(table_of_design(plan.study.screening))
    text = out.file.getvalue()
    assert " 1  +  +  +  +  +  +  +  baseline" in text
    assert "clear of one another and of all interactions of two factors" in text
    assert text.count(" × ") == 21
    lines = dict(statement(plan, Machine.this(), Path("results"), why_protocol="", best_difference="", shard=None))
    assert lines["design"].startswith("7 factors in 16 runs, folded over: a main effect is the mean of 8 runs less")
    assert "1/8 of the variance" in lines["design"]


@pytest.mark.parametrize("parts", [4, 5, 7, 8, 14])
def test_strings_are_the_sets_of_equal_columns(parts):
    design = tuple(folded(parts))
    x = np.where(np.array(design), 1, -1)
    columns = {pair: x[:, pair[0]] * x[:, pair[1]] for pair in itertools.combinations(range(parts), 2)}
    for string in strings(design):
        for pair, column in columns.items():
            same = abs(column @ columns[string[0]]) == len(design)
            assert same == (pair in string)


def test_what_is_clear_depends_on_the_design():
    def said(parts: int) -> str:
        names = [TwoLevelFactor(f"f{i}", {0.0: {}, 1.0: {}}) for i in range(parts)]
        runs = [{"arm": f"run {i}", "at_first": run} for i, run in enumerate(folded(parts))]
        factors = [{"name": each.name, "levels": (0.0, 1.0)} for each in names]
        return " ".join(what_is_clear(ScreeningDesign.model_validate({"factors": factors, "runs": runs})))

    assert "all effects are clear of one another" in said(3)
    assert "separated into 7 strings only" in said(7)
    assert "by 1/3 of its size" in said(10)
    assert "string" not in said(10)


# -- designs of one's own


def layout_from(tmp_path, text: str, suffix: str = "yaml", protocol=SMOKE):
    file = tmp_path / f"my_screen.{suffix}"
    file.write_text(text)
    return layout_for(load_grid(file), "my_screen", protocol, DATA)


def test_a_yaml_file_screens_fields_and_levels_by_name(tmp_path):
    layout = layout_from(
        tmp_path,
        "question: Which?\ndesign: screening\nfactors:\n"
        "  batch_norm: [true, false]\n"
        "  dropout: [0.0, 0.5]\n"
        "  head: {flat: {}, pooled: {head: pool, hidden_width: 0}}\n"
        "  colours: {on: {}, off: {recipe.augmentation: {brightness: 0, contrast: 0}, recipe.augmentation.saturation: 0}}\n",
    )
    design = layout.screening
    assert design.names == ("batch norm", "dropout", "head", "colours")
    assert [factor.levels for factor in design.factors] == [
        (True, False),
        (0.5, 0.0),
        ("flat", "pooled"),
        (True, False),
    ]
    assert len(layout.arms) == 8
    assert layout.arms[0].is_baseline
    last = layout.arms[4]
    assert last.name == "no batch norm, colours; dropout 0, head pooled"
    assert (last.spec.head, last.spec.hidden_width, last.recipe.augmentation.saturation) == ("pool", 0, 0)
    assert last.recipe.augmentation.flip == 0.5


def test_where_the_baseline_has_neither_level_it_stands_beside_the_design(tmp_path):
    layout = layout_from(tmp_path, "design: screening\nfactors: {dropout: [0.1, 0.2], batch_norm: [true, false]}")
    assert [arm.name for arm in layout.arms] == [
        "baseline", "dropout 0.1", "no batch norm; dropout 0.1", "no batch norm; dropout 0.2", "dropout 0.2",
    ]  # fmt: skip
    assert "baseline" not in {run.arm for run in layout.screening.runs}
    assert layout.arms[0].is_baseline


def test_a_python_file_screens_through_the_same_door(tmp_path):
    layout = layout_from(
        tmp_path,
        "from ablations.screens import TwoLevelFactor, screened\n"
        "def grid(baseline):\n"
        '    "Which matters?"\n'
        "    return screened(baseline, [\n"
        '        TwoLevelFactor("batch norm", {True: {}, False: {"batch_norm": False}}),\n'
        '        TwoLevelFactor("dropout", {0.5: {}, 0.0: {"dropout": 0.0}}),\n'
        "    ])\n",
        "py",
    )
    assert len(layout.arms) == len(layout.screening.runs) == 4


def test_what_cannot_be_built_together_is_named_with_its_reason(tmp_path):
    with pytest.raises(UserError) as error:
        layout_from(
            tmp_path,
            "design: screening\nfactors:\n"
            "  blocks: {four: {}, six: {widths: [8, 8, 8, 8, 8, 8]}}\n"
            "  head: {flat: {}, pooled: {head: pool, pool_size: 2}}\n"
            "  dropout: [0.5, 0.0]\n  batch_norm: [true, false]\n",
        )
    said = str(error.value)
    assert "needs combinations that cannot be built: every one with blocks six and head pooled" in said
    assert "pool_size must be at most 1" in said
    assert "make one factor of them" in said
    assert "\n" not in said


def test_runs_that_only_four_levels_together_spoil_are_avoided_and_it_is_said(monkeypatch):
    from ablations import screens
    from ablations.arm import Arm

    made = screens.arm_with

    def picky(baseline: Arm, name, levels, fields) -> Arm:
        if not any(levels.get(f) for f in ("b", "d")) and levels and levels["a"] and levels["c"] and not levels["e"]:
            return made(baseline, name, levels, {"kernel_size": 2})
        return made(baseline, name, levels, fields)

    monkeypatch.setattr(screens, "arm_with", picky)
    factors = [
        TwoLevelFactor(name, {True: {}, False: {f"recipe.augmentation.{field}": 0}})
        for name, field in zip("abcde", ("flip", "rotation", "brightness", "contrast", "saturation"), strict=True)
    ]
    factors.append(TwoLevelFactor("f", {True: {}, False: {"dropout": 0.0}}))
    layout = screened(SMOKE.baseline(), factors)
    (note,) = layout.notes
    assert "cannot be built, such as: no b, no d, no e" in note
    assert "kernel_size must be odd" in note
    x = np.where(np.array(layout.screening.combinations), 1, -1)
    assert np.array_equal(x.T @ x, 16 * np.eye(6))


BAD = [
    ("factors: {dropout: [0.5, 0.0], batch_norm: [true, false]}", "need `design: screening`, got none"),
    ("design: full\nfactors: {dropout: [0.5, 0.0]}", "need `design: screening`, got 'full'"),
    ("design: screening", "factors must map each factor to its two levels"),
    ("design: screening\nfactors: [a]", "factors must map each factor to its two levels, got a list"),
    ("design: screening\nfactors: {dropout: [0.5, 0.0]}\narms: [{name: a}]", "arms does not go with factors"),
    ("design: screening\nfactors: {dropout: [0.5, 0.0]}", "takes 2 to 24 parts, got 1"),
    ("design: screening\nfactors: {dropout: [0.5], batch_norm: [true, false]}", "two different levels, got [0.5]"),
    ("design: screening\nfactors: {dropout: [0.5, 0.5], batch_norm: [true, false]}", "two different levels"),
    ("design: screening\nfactors: {dropout: 0.5, batch_norm: [true, false]}", "must be a list of two levels"),
    ("design: screening\nfactors: {drop: [0.5, 0.0], batch_norm: [true, false]}", "did you mean 'dropout'?"),
    ("design: screening\nfactors: {a: {b: {drop: 1}, c: {}}, batch_norm: [true, false]}", "did you mean 'dropout'?"),
    ("design: screening\nfactors: {a: {b: {}, c: {dropout: 0.5}}, batch_norm: [true, false]}", "nothing to vary"),
    (
        "design: screening\nfactors: {a: {b: {}, c: {recipe.augmentation: {flip: 0}}}, recipe.augmentation.flip: [0.5, 0.1]}",
        "the factors 'a' and 'flip' both set recipe.augmentation",
    ),
    ("design: screening\nfactors: {dropout: [0.5, 0.0], a: {b: {}, c: {dropout: 0.1}}}", "both set dropout"),
    ("design: screening\nfactors: {dropout: [0.5, 2.0], batch_norm: [true, false]}", "every one with dropout 2"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_design_that_is_none_is_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(UserError) as caught:
        layout_from(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_planned_looks_would_take_runs_out_of_a_design_and_are_refused(tmp_path, tiny):
    settings = Settings(looks=plan_looks(2, 3), dry_run=True)
    with pytest.raises(UserError, match="planned looks would stop single runs; give --seeds one number"):
        prepare_study("screen", "smoke", data=tiny, results=tmp_path / "results", settings=settings)
    assert not (tmp_path / "results").exists()


def test_twenty_four_factors_are_named_by_their_runs_where_names_get_long():
    factors = [
        TwoLevelFactor(f"a factor with a rather long name {field}", {True: {}, False: {field: value}})
        for field, value in {
            "dropout": 0.0, "batch_norm": False, "residual": True, "kernel_size": 5, "hidden_width": 0,
            "recipe.weight_decay": 0.0, "recipe.label_smoothing": 0.1, "recipe.momentum": 0.5,
        }.items()
    ]  # fmt: skip
    arms = screened(SMOKE.baseline(), factors).arms
    assert all(len(arm.name) <= 200 for arm in arms)
    assert len({arm.name for arm in arms}) == 16


# -- networks of one's own

NET = """
from torch import nn

def make(norm=True, skip=True, width=4, dropout=0.5):
    if not norm and not skip:
        raise ValueError("without norm it needs the skip")
    parts = [nn.Conv2d(3, width, 3), *([nn.BatchNorm2d(width)] if norm else []), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, *([nn.Identity()] if skip else []), nn.Dropout(dropout), nn.Linear(width, 10))
"""


def screen_of_own(tmp_path, name: str, factors: str):
    (tmp_path / f"{name}.py").write_text(NET)
    return layout_from(
        tmp_path, f'baseline: {{factory: "{name}:make"}}\ndesign: screening\nfactors: {factors}', protocol=SMOKE
    )


def test_arguments_of_a_network_of_ones_own_are_screened(tmp_path):
    layout = screen_of_own(tmp_path, "screened_net", "{norm: [true, false], width: [4, 6], dropout: [0.5, 0.0]}")
    assert layout.screening.names == ("norm", "width", "dropout")
    assert layout.arms[0].is_baseline
    assert {(arm.levels["norm"], arm.levels["width"]) for arm in layout.arms} == {
        (True, 4), (True, 6), (False, 4), (False, 6),
    }  # fmt: skip
    for arm in layout.arms:
        arguments = {"norm": True, "width": 4, "dropout": 0.5} | arm.spec.arguments
        assert {name: arguments[name] for name in arm.levels} == arm.levels


def test_combinations_that_a_network_of_ones_own_refuses_are_named_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError) as error:
        screen_of_own(tmp_path, "picky_net", "{norm: [true, false], skip: [true, false], width: [4, 6]}")
    assert "every one with no norm and no skip" in str(error.value)
    assert "without norm it needs the skip" in str(error.value)
    assert "\n" not in str(error.value)
