"""The tables of the page on the documented study: what the evidence at hand says, as small CSVs."""

import shlex
from pathlib import Path

import pandas as pd
from scipy import optimize

from ablations import files
from analysis.claims import ledger
from analysis.documented import self_checks
from analysis.evidence import Evidence, arm_with, source_of
from analysis.kept_looks import GALLERY
from analysis.outcomes import Outcomes
from analysis.reproduction import Reproduction
from analysis.statistics import SIGNIFICANT, PairedEffect

MEASURED = {"shape_bias": "shape_bias", "attention": "baseline_attention", "reliance": "reliance"}
"""Tables of measures, and which of `analysis.study_measures.StudyMeasures` they are."""
SHEET = "sheet-001.png"
"""The first of a gallery."""


def tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Every table of the page, by the name of its file. Those that the evidence has nothing for are not there."""
    found: dict[str, pd.DataFrame] = {
        "claims": ledger(evidence),
        "document": self_checks(evidence.published),
        "memory": evidence.memory,
        "control": evidence.control,
        "errors": evidence.composites,
        "studies": studies(evidence),
    }
    baseline = next(evidence.baselines(), None)
    if baseline is not None:
        own = Reproduction(baseline.outcomes, evidence.published)
        of_study = {
            "classes": own.classes, "ranks": own.ranks,
            "confusion": own.confusion.rename_axis("class").reset_index(),
        }  # fmt: skip
        found |= {name: table.assign(study=baseline.outcomes.study.name) for name, table in of_study.items()}
        names = [each.study.name for each in (own.outcomes, *own.others)]
        of_arithmetic = dict(zip(own.accuracies["precision"].iloc[1:], names, strict=True))
        found["accuracy"] = own.accuracies.assign(study=["", *names])
        found["seeds"] = own.by_seed.assign(study=own.by_seed["precision"].map(of_arithmetic))
    found["curves"] = curves(evidence)
    for name, source in MEASURED.items():
        found[name] = _first(evidence, source)
    found["shape_bias_by_category"] = _by_category(evidence)
    found["undocumented"] = undocumented(evidence)
    found["arithmetic"] = arithmetic(evidence)
    found["gallery"] = gallery(evidence)
    found["claims"] = _with_commands(found["claims"], found["studies"])
    return {name: table for name, table in found.items() if not table.empty}


def _with_commands(claims: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Of what was measured, the command of the study that it comes from, in the place of one that would measure it."""
    if studies.empty:
        return claims
    ran = dict(zip(studies["study"], studies["command"], strict=True))
    own = claims["source"].str.partition(" (")[0].map(ran)
    return claims.assign(command=own.where(own.notna() & own.ne(""), claims["command"]))


def _first(evidence: Evidence, measure: str) -> pd.DataFrame:
    """What a measure says of the baseline, in the first study that has it, with the study's name."""
    for study in evidence.baselines():
        table: pd.DataFrame = getattr(study.measures, measure)
        if not table.empty:
            about = {"source": source_of(study.outcomes), "study": study.outcomes.study.name}
            return table[table["is_baseline"]].assign(**about)
    return pd.DataFrame()


def _by_category(evidence: Evidence) -> pd.DataFrame:
    """The baseline's shape bias by category, of the study that `_first` takes."""
    for study in evidence.baselines():
        if not study.measures.shape_bias.empty:
            table = study.measures.shape_bias_by_category
            return table[table["arm"] == study.outcomes.baseline.name].assign(study=study.outcomes.study.name)
    return pd.DataFrame()


def studies(evidence: Evidence) -> pd.DataFrame:
    """What was run: a row a study. Columns: study, protocol, image_size (that networks take), train (images), data, arms, cells,
    seeds, arithmetic, device, hours (of cells), command (the latest; folders are named by what they hold).
    """
    rows = []
    for study in evidence.studies:
        outcomes = study.outcomes
        done = outcomes.finished
        rows.append(
            {
                "study": outcomes.study.name,
                "protocol": outcomes.study.protocol,
                "image_size": outcomes.baseline.spec.get("image_size"),
                "train": outcomes.study.split.train if outcomes.study.split else None,
                "data": outcomes.study.data_text,
                "arms": len(outcomes.arms),
                "cells": len(done),
                "seeds": int(done["seed"].nunique()),
                "arithmetic": " + ".join(sorted(set(done["precision"].dropna()))),
                "device": " + ".join(sorted(set(done["device"].dropna()))),
                "hours": float(done["seconds"].sum() / 3600),
                "command": command_of(outcomes),
            }
        )
    return pd.DataFrame(rows)


PLACES = {"--data": "PATH_TO_CIFAR10", "--results": "RESULTS"}
"""Options whose values are folders of one machine, and what others put there."""


def command_of(outcomes: Outcomes) -> str:
    """The command that ran a study, the latest if there are several; empty where it is not known."""
    if not outcomes.study.commands:
        return ""
    words = list(outcomes.study.commands[-1].arguments)
    for place, word in enumerate(words):
        option, given, _ = word.partition("=")
        if option in PLACES and given:
            words[place] = f"{option}={PLACES[option]}"
        elif place and words[place - 1] in PLACES:
            words[place] = PLACES[words[place - 1]]
        elif "/" in word:  # a grid's file, say
            words[place] = Path(word).name
    return f"python experiments/run_ablation.py {shlex.join(words)}"


def curves(evidence: Evidence) -> pd.DataFrame:
    """Learning curves of the baseline, and of the arms whose curves claims are about, of the most telling study that has them."""
    wanted = ({"batch_norm": False}, {"random_labels": 1.0})
    for study in evidence.baselines():
        arms = [arm.name for fields in wanted if (arm := arm_with(study.outcomes, fields)) is not None]
        if arms:
            epochs = study.epochs
            shown = epochs[epochs["arm"].isin([study.outcomes.baseline.name, *arms])]
            return shown.assign(study=study.outcomes.study.name)
    baseline = next(evidence.baselines(), None)
    if baseline is None:
        return pd.DataFrame()
    return baseline.epochs[baseline.epochs["is_baseline"]].assign(study=baseline.outcomes.study.name)


def arithmetic(evidence: Evidence) -> pd.DataFrame:
    """What fp32 in the place of bf16 moves, over the seeds that have both: one row, or none.

    Columns: delta, low, high (of test accuracy, 95 %, 0 to 1), within (the least margin within which two one-sided tests at 5
    % find the two equivalent), seeds, source.
    """
    pair, sign = evidence.pair({"precision": "fp32"}), 1.0
    if pair is None:
        pair, sign = evidence.pair({"precision": "bf16"}), -1.0
    if pair is None:
        return pd.DataFrame()
    effect = pair.tested("").effect
    low, high = sorted(sign * bound for bound in effect.interval(0.95))
    row = {
        "delta": sign * effect.delta,
        "low": low,
        "high": high,
        "within": least_margin(effect),
        "seeds": effect.n_seeds,
        "source": source_of(pair.outcomes),
    }
    return pd.DataFrame([row])


def least_margin(effect: PairedEffect) -> float:
    """The least margin (0 to 1) at which two one-sided tests call an effect equivalent at 5 %; 1 where no margin does."""
    if effect.equivalence_p(1.0) > SIGNIFICANT:
        return 1.0
    return float(
        optimize.brentq(lambda margin: effect.equivalence_p(margin) - SIGNIFICANT, abs(effect.delta), 1.0, xtol=1e-6)
    )


def undocumented(evidence: Evidence) -> pd.DataFrame:
    """What other readings of the document give, as `analysis.effects.effect_table`, with a column about (what was left open).

    Of the study with the factor "left open" that has most seeds; empty where there is none with two.
    """
    found = [study for study in evidence.ranked if any("left open" in arm.levels for arm in study.outcomes.arms)]
    for study in found:
        table = study.effects
        if table["paired_seeds"].max() > 1:
            about = {arm.name: str(arm.levels.get("left open", "")) for arm in study.outcomes.arms}
            kept = ["arm", "is_baseline", "changes", "seeds", "test_mean", "test_sd", "delta", "shown_low", "shown_high",
                    "adjusted_p", "verdict", "paired_seeds", "parameters"]  # fmt: skip
            named = {"source": source_of(study.outcomes), "study": study.outcomes.study.name}
            return table[kept].assign(about=table["arm"].map(about), **named)
    return pd.DataFrame()


def gallery(evidence: Evidence) -> pd.DataFrame:
    """What the networks answered to the images of the most telling study's gallery, as `experiments/gallery.py` left it, with a
    column study; empty where nobody has made one.
    """
    folder = _gallery_folder(evidence)
    if folder is None or not (folder / "gallery.csv").is_file():
        return pd.DataFrame()
    return pd.read_csv(folder / "gallery.csv", keep_default_na=False).assign(study=folder.parent.name)


def _gallery_folder(evidence: Evidence) -> Path | None:
    """Of the first study that has such a folder with a sheet."""
    folders = (study.outcomes.study.folder for study in evidence.baselines())
    return next((one / GALLERY for one in folders if one is not None and (one / GALLERY / SHEET).is_file()), None)


def write_tables(evidence: Evidence, folder: Path) -> dict[str, pd.DataFrame]:
    """Writes each table as NAME.csv; those of an earlier run that there is nothing for now are removed.

    Raises: OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = tables(evidence)
    for old in folder.glob("*.csv"):
        if old.stem not in found:
            old.unlink()
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
    sheets = _gallery_folder(evidence)
    if sheets is None:
        (folder / "gallery.png").unlink(missing_ok=True)
    else:
        files.write(folder / "gallery.png", files.read(sheets / SHEET))
    return found


TEXTS = frozenset(
    {
        *(
            "sentence",
            "unit",
            "source",
            "figure",
            "command",
            "measure",
            "rule",
            "precision",
            "device",
            "interval",
            "remark",
        ),
        *("arithmetic", "about", "changes", "verdict", "study"),
    }
)
"""Columns that are texts, also where all of them are empty."""


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """What `write_tables` left."""
    found = {}
    for file in sorted(folder.glob("*.csv")):
        table = pd.read_csv(file, dtype=dict.fromkeys(TEXTS, "str"))
        found[file.stem] = table.fillna({name: "" for name in table.columns if name in TEXTS})
    return found
