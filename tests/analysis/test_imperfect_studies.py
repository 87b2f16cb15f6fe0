"""Studies as they are in practice: cells missing, failed, diverged or damaged, devices mixed, manifests edited by hand.

Each is the stored real study with some harm done to it. What is left of it must give the numbers that are computed here from the
logits on disk, and every table and figure either shows them or says in one sentence why it cannot.
"""

import html
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from ablations.cell import Cell
from ablations.record import CellResult, Failure, Record
from ablations.store import Store
from analysis import report, tables
from analysis.effects import effect_table, remarks, seed_differences
from analysis.outcomes import Outcomes
from analysis.per_class import recalls
from analysis.statistics import paired_effect
from analysis.study_tables import StudyTables
from cnnkit.errors import UserError

STORED = Path(__file__).parents[1] / "data" / "results"
SCRIPTS = Path(__file__).parents[2] / "experiments"
STUDY, BASELINE = "depth-smoke", "4 blocks"
ARMS = ["2 blocks", "3 blocks", "4 blocks", "5 blocks", "6 blocks"]
SEEDS = [0, 1, 2]

Lost = set[tuple[str, int]]  # arms and seeds


def result_in(folder: Path) -> CellResult:
    """What the run of a recorded cell returned, its weights left out."""
    record = Record.model_validate_json((folder / "record.json").read_bytes())
    same = {name: getattr(record, name) for name in vars(record) if name in CellResult.__dataclass_fields__}
    logits = load_file(folder / "logits.safetensors")
    return CellResult(cell=Cell.model_validate(record.identity), weights=None, **{**same, **logits})


class Copy:
    """A copy of the stored results, to be harmed."""

    def __init__(self, root: Path) -> None:
        shutil.copytree(STORED, root)
        about = Store(root).about
        self.root, self.store = root, Store.open(root, data=about.data, data_description=about.data_description)
        self.keys = {(row.arm, row.seed): row.key for row in Outcomes.from_store(STORED, STUDY).cells.itertuples()}

    def folder(self, arm: str, seed: int) -> Path:
        return self.store.cell_folder(self.keys[arm, seed])

    def lose(self, *cells: tuple[str, int]) -> Lost:
        for cell in cells:
            shutil.rmtree(self.folder(*cell))
        return set(cells)

    def fail(self, kind: str, *cells: tuple[str, int]) -> Lost:
        self.lose(*cells)
        for arm, seed in cells:
            failure = Failure(key=self.keys[arm, seed], arm=arm, seed=seed, kind=kind, sentence="the disk was full")
            self.store.write_failure(failure, "a traceback")
        return set(cells)

    def run_elsewhere(self, arm: str, seed: int) -> Lost:
        self.lose((arm, seed))
        self.elsewhere = Store(self.root)
        assert self.elsewhere.claim(self.keys[arm, seed])
        return {(arm, seed)}

    def truncate(self, file: str, *cells: tuple[str, int]) -> Lost:
        for cell in cells:
            path = self.folder(*cell) / file
            path.write_bytes(path.read_bytes()[:-100])
        return set(cells)

    def alter(self, arm: str, seed: int) -> Lost:
        file = self.folder(arm, seed) / "record.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "test_accuracy": 0.99}))
        return {(arm, seed)}

    def train_on(self, arm: str, seed: int, **provenance: str) -> Lost:
        """As if the cell had been trained elsewhere: its record written anew, with a seal of its own."""
        folder = self.folder(arm, seed)
        result = result_in(folder)
        shutil.rmtree(folder)
        self.store.write(replace(result, provenance=result.provenance.model_copy(update=provenance)))
        return set()

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """The study's manifest, by hand."""
        file = self.store.study_folder(STUDY) / "study.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    def one_seed(self) -> Lost:
        self.edit(lambda manifest: manifest.update(seeds=1))
        return {(arm, seed) for arm in ARMS for seed in (1, 2)}

    def baseline_alone(self) -> Lost:
        self.edit(lambda manifest: manifest.update(arms=[arm for arm in manifest["arms"] if arm["is_baseline"]]))
        return {(arm, seed) for arm in ARMS if arm != BASELINE for seed in SEEDS}

    def add_seeds(self) -> Lost:
        def change(manifest: dict[str, Any]) -> None:
            (first,) = manifest["commands"]
            manifest["commands"] = [{**first, "seeds": 2}, {**first, "finished_before": 10}]

        self.edit(change)
        return set()


HARMS: dict[str, Callable[[Copy], Lost]] = {
    "nothing": lambda copy: set(),
    "a missing seed": lambda copy: copy.lose(("2 blocks", 1)),
    "another seed missing in each arm": lambda copy: copy.lose(("2 blocks", 0), ("3 blocks", 1), ("5 blocks", 2)),
    "an arm without cells": lambda copy: copy.lose(*(("2 blocks", seed) for seed in SEEDS)),
    "the baseline lacks a seed": lambda copy: copy.lose((BASELINE, 1)),
    "the baseline has one seed": lambda copy: copy.lose((BASELINE, 0), (BASELINE, 2)),
    "the baseline has no cells": lambda copy: copy.lose(*((BASELINE, seed) for seed in SEEDS)),
    "no pair": lambda copy: copy.lose((BASELINE, 0), *((arm, s) for arm in ARMS if arm != BASELINE for s in (1, 2))),
    "a failed cell": lambda copy: copy.fail("failed", ("2 blocks", 1)),
    "a cell that is being trained": lambda copy: copy.run_elsewhere("2 blocks", 1),
    "a diverged seed": lambda copy: copy.fail("diverged", ("6 blocks", 1)),
    "a diverged arm": lambda copy: copy.fail("diverged", *(("6 blocks", seed) for seed in SEEDS)),
    "a diverged seed of the baseline": lambda copy: copy.fail("diverged", (BASELINE, 1)),
    "truncated logits": lambda copy: copy.truncate("logits.safetensors", ("2 blocks", 1)),
    "truncated logits of the baseline": lambda copy: copy.truncate("logits.safetensors", (BASELINE, 1)),
    "truncated logits of all": lambda copy: copy.truncate("logits.safetensors", *((a, s) for a in ARMS for s in SEEDS)),
    "a truncated record": lambda copy: copy.truncate("record.json", ("2 blocks", 1)),
    "an altered record": lambda copy: copy.alter("2 blocks", 1),
    "no cell": lambda copy: copy.lose(*((arm, seed) for arm in ARMS for seed in SEEDS)),
    "one seed": lambda copy: copy.one_seed(),
    "one arm": lambda copy: copy.baseline_alone(),
    "two devices": lambda copy: copy.train_on("2 blocks", 1, device="a GPU", device_type="cuda"),
    "two precisions": lambda copy: copy.train_on("2 blocks", 1, precision="fp32"),
    "seeds added after looking": lambda copy: copy.add_seeds(),
}
"""What can be wrong with a study, and which cells are lost by it."""

NOTES = {
    "a missing seed": "Seeds not finished: 2 blocks: 1.",
    "the baseline has no cells": "Seeds not finished: 4 blocks: 3.",
    "a failed cell": "Seeds not finished: 2 blocks: 1.",
    "a cell that is being trained": "Seeds not finished: 2 blocks: 1.",
    "a diverged seed": "Seeds that diverged: 6 blocks: 1.",
    "a diverged arm": "Seeds that diverged: 6 blocks: 3.",
    "a diverged seed of the baseline": "Seeds that diverged: 4 blocks: 1.",
    "truncated logits": "Seeds whose records are damaged: 2 blocks: 1.",
    "truncated logits of the baseline": "Seeds whose records are damaged: 4 blocks: 1.",
    "a truncated record": "Seeds whose records are damaged: 2 blocks: 1.",
    "an altered record": "Seeds whose records are damaged: 2 blocks: 1.",
    "two devices": "different devices or precisions (AMD EPYC, 2 cores, bf16; a GPU, bf16)",
    "two precisions": "different devices or precisions (AMD EPYC, 2 cores, bf16; AMD EPYC, 2 cores, fp32)",
    "seeds added after looking": "Seeds were added after results had been seen",
}
"""What a reader is told."""


@pytest.fixture(scope="module")
def right() -> dict[tuple[str, int], np.ndarray]:
    """Which test images each cell of the whole study gets right, from its file."""
    found = {}
    for row in Outcomes.from_store(STORED, STUDY).cells.itertuples():
        stored = load_file(STORED / "cells" / row.key / "logits.safetensors")
        found[row.arm, row.seed] = stored["test_logits"].argmax(1) == stored["test_labels"]
    return found


@pytest.fixture
def copy(tmp_path) -> Copy:
    return Copy(tmp_path / "results")


def printed(results: Outcomes) -> str:
    """What a report of the study says, apart from its figures."""
    effects = effect_table(results)
    out = Console(file=StringIO(), width=200)
    for table in (tables.effects(effects), tables.arms(effects), tables.cells(results.cells)):
        out.print(table.for_terminal())
    for sentence in [*effects["sentence"], *remarks(effects), *results.remarks]:
        out.print(sentence, markup=False, soft_wrap=True)
    return out.file.getvalue()


@pytest.mark.parametrize("harm", HARMS)
def test_the_tables_are_those_of_the_cells_that_are_left(copy, right, harm):
    lost = HARMS[harm](copy)
    left = {cell: correct for cell, correct in right.items() if cell not in lost}
    results = Outcomes.from_store(copy.root, STUDY)
    effects = effect_table(results).set_index("arm")
    differences = seed_differences(results)
    assert {(arm, seed) for arm, seeds in results.correct.items() for seed in seeds} == set(left)
    for arm in effects.index:
        row, seeds = effects.loc[arm], [seed for seed in SEEDS if (arm, seed) in left]
        assert row["seeds"] == len(seeds)
        accuracies = [left[arm, seed].mean() for seed in seeds]
        assert row["test_mean"] == pytest.approx(np.mean(accuracies) if seeds else np.nan, nan_ok=True)
        assert row["test_sd"] == pytest.approx(np.std(accuracies, ddof=1) if len(seeds) > 1 else np.nan, nan_ok=True)
        assert row["seeds"] + row["diverged"] + row["damaged"] + row["unfinished"] == len(results.seeds)
        shared = [seed for seed in seeds if (BASELINE, seed) in left and arm != BASELINE]
        assert row["paired_seeds"] == len(shared)
        own = differences[differences["arm"] == arm]
        assert own["seed"].tolist() == shared
        by_hand = [left[arm, seed].mean() - left[BASELINE, seed].mean() for seed in shared]
        assert own["difference"].tolist() == pytest.approx(by_hand)
        if not shared:
            assert np.isnan([row["delta"], row["low"], row["p_value"], row["adjusted_p"]]).all()
            assert row["verdict"] == row["sentence"] == ""
            continue
        expected = paired_effect(
            np.stack([left[arm, seed] for seed in shared]), np.stack([left[BASELINE, seed] for seed in shared])
        )
        assert row["delta"] == pytest.approx(np.mean(by_hand))
        assert row[["low", "high"]].tolist() == pytest.approx([expected.low, expected.high], nan_ok=True)
        assert (row["verdict"] == "no interval") == (len(shared) == 1)


@pytest.mark.parametrize("harm", HARMS)
def test_curves_are_there_for_every_finished_record_and_classes_for_all_whose_answers_can_be_used(copy, harm):
    HARMS[harm](copy)
    results = Outcomes.from_store(copy.root, STUDY)
    assert len(results.epochs) == 2 * len(results.finished)
    by_class = recalls(results)
    assert len(by_class) == 10 * sum(map(len, results.predictions.values()))
    assert {"arm", "seed", "epoch", "validation_accuracy"} <= set(results.epochs)
    assert {"arm", "seed", "class", "recall"} <= set(by_class)


@pytest.mark.parametrize("harm", HARMS)
def test_a_reader_is_told_what_is_wrong_and_never_nan(copy, harm):
    HARMS[harm](copy)
    text = printed(Outcomes.from_store(copy.root, STUDY))
    assert NOTES.get(harm, "") in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE), text
    told = [note for note in NOTES.values() if note in text]
    assert told or harm not in NOTES


@pytest.mark.parametrize(
    "harm", ["no cell", "one arm", "one seed", "truncated logits", "a diverged arm", "seeds added after looking"]
)
def test_there_is_a_report_which_says_it_too(copy, harm):
    HARMS[harm](copy)
    page = report.write(StudyTables(Outcomes.from_store(copy.root, STUDY)), copy.root.parent / "report").read_text(
        encoding="utf-8"
    )
    text = html.unescape(re.sub(r"<style>.*?</style>|data:[^\"]*|<[^>]*>", " ", page, flags=re.DOTALL))
    assert NOTES.get(harm, "") in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE), text


def test_a_damaged_cell_is_named_with_its_file(copy):
    copy.truncate("logits.safetensors", ("2 blocks", 1))
    copy.truncate("record.json", ("3 blocks", 0))
    text = printed(Outcomes.from_store(copy.root, STUDY))
    assert f"{copy.folder('2 blocks', 1) / 'logits.safetensors'}: altered since it was written" in text
    assert f"{copy.folder('3 blocks', 0) / 'record.json'}: " in text


def test_a_mix_of_devices_is_a_column(copy):
    copy.train_on("2 blocks", 1, device="a GPU", precision="fp16")
    results = Outcomes.from_store(copy.root, STUDY)
    effects = effect_table(results)
    assert effects["trained_on"].tolist()[:2] == ["AMD EPYC, 2 cores, bf16 + a GPU, fp16", "AMD EPYC, 2 cores, bf16"]
    assert tables.arms(effects).columns[-1].header == "trained on"


def ahead(copy: Copy, arm: str) -> None:
    """Gives an arm the right answer to every image, so that it would be better."""
    for seed in SEEDS:
        folder = copy.folder(arm, seed)
        result = result_in(folder)
        right = np.eye(10, dtype=np.float32)[result.test_labels]
        shutil.rmtree(folder)
        copy.store.write(replace(result, test_logits=right, test_accuracy=1.0))


@pytest.mark.parametrize(
    ("arm", "diverged", "verdict"),
    [
        ("6 blocks", "2 blocks", "better"),
        ("6 blocks", "6 blocks", "inconclusive"),
        (BASELINE, "2 blocks", "worse"),
        (BASELINE, BASELINE, "inconclusive"),
    ],
)
def test_who_lost_seeds_to_divergence_wins_nothing_by_the_others(copy, arm, diverged, verdict):
    ahead(copy, arm)
    copy.fail("diverged", (diverged, 1))
    results = Outcomes.from_store(copy.root, STUDY)
    row = effect_table(results).set_index("arm").loc["6 blocks"]
    assert row["verdict"] == verdict
    assert ("1 seed" in row["remark"] and "diverged" in row["remark"]) == (verdict == "inconclusive")


# -- scripts


def module_of(name: str):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # tyro looks the class of the arguments up by its module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figure():
    return module_of("figure")


@pytest.fixture(scope="module")
def status():
    return module_of("status")


WITHOUT_FIGURE = {
    "the baseline has no cells": {"forest", "per_class"},
    "no pair": {"forest", "per_class"},
    "truncated logits of all": {"forest", "cost", "learning_curves", "losses", "reliability", "per_class"},
    "no cell": {"forest", "cost", "learning_curves", "losses", "reliability", "per_class"},
    "one arm": {"forest", "per_class"},
}
"""Of which studies there is no such figure."""
OF_ONE_NETWORK = {"reproduction", "documented_classes", "confusion"}
OF_OTHER_GRIDS = {
    *("steps", "two_factor", "looks", "main_effects", "half_normal"),
    *("shape_bias", "reliance", "attention", "composites", "stimuli"),
    *OF_ONE_NETWORK,
}
DRAWN = [
    *WITHOUT_FIGURE,
    *("a missing seed", "the baseline has one seed", "a diverged arm", "one seed"),
]
"""Studies whose figures differ; the others lack a cell, too, whatever the reason."""


@pytest.mark.parametrize("harm", DRAWN)
def test_a_figure_shows_what_is_left_or_says_why_it_cannot(copy, figure, capsys, tmp_path, harm):
    HARMS[harm](copy)
    study, refused = str(copy.root / "studies" / STUDY), set()
    for name in figure.FIGURES:
        file = tmp_path / f"{name}.svg"
        with mpl.rc_context({"svg.fonttype": "none"}):  # text that can be read back
            try:
                assert figure.main([study, name, "--out", str(file)]) == 0
            except UserError as error:
                refused.add(name)
                assert "so there is nothing to draw" in str(error)
                assert not file.exists()
                continue
        assert not re.search(r">[^<]*\bnan\b[^<]*</text>", file.read_text()), name
    of_other_grids = OF_OTHER_GRIDS - OF_ONE_NETWORK if harm == "one arm" else OF_OTHER_GRIDS
    assert refused == WITHOUT_FIGURE.get(harm, set()) | of_other_grids


@pytest.mark.parametrize(
    "harm", ["the baseline lacks a seed", "truncated logits of the baseline", "the baseline has no cells"]
)
def test_so_does_the_figure_of_two_factors_in_a_study_that_shares_the_baseline(copy, figure, capsys, tmp_path, harm):
    HARMS[harm](copy)
    study = copy.root / "studies" / "batch_norm_dropout-smoke"
    assert figure.main([str(study), "two_factor", "--out", str(tmp_path / "f.pdf")]) == 0


@pytest.mark.parametrize("harm", HARMS)
def test_status_counts_what_is_left(copy, status, capsys, harm):
    HARMS[harm](copy)
    counts = Outcomes.from_store(copy.root, STUDY).cells["status"].value_counts()
    assert status.main([str(copy.root)]) == 0
    output = capsys.readouterr().out
    (line,) = (line for line in output.splitlines() if line.startswith(STUDY))
    numbers = [str(counts.get(kind, 0)) for kind in ("finished", "running", "failed", "diverged", "damaged", "missing")]
    assert line.split()[2:8] == numbers
    assert not re.search(r"\bnan\b", output)


# -- manifests edited by hand

EDITS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no arms": (lambda manifest: manifest.update(arms=[]), "names no arms"),
    "no baseline": (
        lambda manifest: [arm.update(is_baseline=False) for arm in manifest["arms"]],
        "names no baseline among its arms",
    ),
    "two baselines": (
        lambda manifest: [arm.update(is_baseline=True) for arm in manifest["arms"][:2]],
        "names 3 baselines among its arms",
    ),
    "arms alike": (lambda manifest: manifest["arms"].append(manifest["arms"][0]), "names two arms alike"),
    "no seeds": (lambda manifest: manifest.update(seeds=0), "names no seeds"),
    "a broken arm": (lambda manifest: manifest["arms"][0].update(spec=[]), "study.json"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manifest_that_makes_no_study_is_refused_in_one_sentence(copy, figure, status, capsys, edit):
    change, words = EDITS[edit]
    copy.edit(change)
    with pytest.raises(UserError, match=words) as error:
        Outcomes.from_store(copy.root, STUDY)
    assert "move it away and run the study's command again" in str(error.value)
    with pytest.raises(UserError, match=words):
        figure.main([str(copy.root / "studies" / STUDY), "forest"])
    assert status.main([str(copy.root)]) == 1
    output = capsys.readouterr().out  # the other studies are still shown
    assert re.search(r"^batch_norm_dropout-smoke +12 +12", output, re.MULTILINE)
    assert words in output
