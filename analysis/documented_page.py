"""The text of the page on the documented study, from its tables.

`documented_tables.write_tables` leaves a folder of CSVs, which hold all that the page shows; `render` and
`documented_figures.draw` read it and nothing else.
So whoever has the folder can make page and figures again, and whoever reads the page gets from each figure to its numbers and to
the command that measured them. What the folder does not have is "not measured" on the page, with its command.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ablations.units import counted, duration
from analysis.claim_rules import MOST_BLOCKS
from analysis.claims import MEASURE, RUN
from analysis.documented import documented
from analysis.documented_figures import COLLECT, DOCUMENTED_RUN, FIGURES, UNDOCUMENTED_RUN, PageFigure
from analysis.documented_tables import MEASURED
from analysis.effects import points, probability
from analysis.evidence import KINDS
from analysis.metric import ACCURACY

NAMES = {"recall": "recall", "precision": "precision", "f1": "F1"}
DOCUMENTED_SCALE = (224, 40_000)
"""Pixels along a side of the network's input, and training images."""
NOT_MEASURED = "Not measured. Command: `{command}`"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows, by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def render(found: Mapping[str, pd.DataFrame], *, results: str = "results/documented") -> str:
    """The page in Markdown, from the tables alone.

    Args: results: where the CSVs and figures lie, from the page.
    """
    page = Page(found, results)
    parts = (
        page.head(), page.verdicts(), page.number(), page.learning(), page.classes(), page.document(), page.silence(),
        page.inference(), page.inside(), page.memory(), page.rules(), page.how(),
    )  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def outcome(found: Mapping[str, pd.DataFrame]) -> str:
    """The page in two sentences."""
    claims = records(found["claims"])
    number = next(row for row in claims if row["name"] == "accuracy")
    stated = f"{100 * documented().test_accuracy:.2f} %"
    says = {
        "supported": f"The documented {stated} is what this recipe gives",
        "not supported": f"The documented {stated} is not what this recipe gives, as we read it",
        "inconclusive": f"Whether this recipe gives the documented {stated} is open",
    }.get(number["verdict"], f"Whether this recipe gives the documented {stated} is not measured")
    counts = {kind: sum(row["verdict"] == kind for row in claims) for kind in KINDS}
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    smaller = _at_a_smaller_scale(found)
    scale = (
        f" {smaller} of them were put to it at a smaller scale than the document's, which may decide otherwise."
        if smaller
        else ""
    )
    return f"{says}: {number['sentence']} Of {len(claims)} claims put to the test: {listed}.{scale}"


def _at_a_smaller_scale(found: Mapping[str, pd.DataFrame]) -> int:
    """How many claims have a verdict from a study of fewer training images or smaller ones than the document's."""
    scales = {row["study"]: (row["image_size"], row["train"]) for row in records(found.get("studies", pd.DataFrame()))}
    of_claims = [scales.get(str(row["source"]).partition(" (")[0]) for row in records(found["claims"])]
    return sum(scale is not None and scale != DOCUMENTED_SCALE for scale in of_claims)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    escaped = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], ["---"] * len(heads), *escaped))


def effect_text(row: Mapping[str, Any] | pd.Series) -> str:
    """A claim's effect with its interval, in its unit."""
    value, low, high, unit = row["effect"], row["low"], row["high"], str(row["unit"])
    if math.isnan(value):
        return ""
    of_accuracy = unit.startswith(("points", "test accuracy", "recall of"))

    def shown(number: float) -> str:
        return points(number, sign=unit == "points") if of_accuracy else f"{number:.3g}"

    interval = "" if math.isnan(low) else f" [{shown(low)}, {shown(high)}]"
    return f"{shown(value)}{interval} {unit}"


@dataclass(frozen=True)
class Page:
    """The parts of the page, each from the tables that it needs."""

    found: Mapping[str, pd.DataFrame]
    results: str

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Of a table; none where it is not there."""
        return records(self.found[name]) if name in self.found else []

    def csv(self, name: str) -> str:
        """A link to a table."""
        return f"[{name}.csv]({self.results}/{name}.csv)"

    def picture(self, name: str) -> str:
        """A figure with its caption, its numbers and its command; or what would measure it."""
        figure = next(figure for figure in FIGURES if figure.name == name)
        if any(need not in self.found for need in figure.needs):
            return NOT_MEASURED.format(command=figure.command)
        numbers = ", ".join(map(self.csv, figure.needs))
        image = f"![{figure.caption}]({self.results}/{name}.png)"
        return f"{image}\n\n{figure.caption} Numbers: {numbers}. {self.origin(figure)}"

    def origin(self, figure: PageFigure) -> str:
        """Which study a figure shows, and the command that ran it; of a figure of no study, the command that makes it."""
        studies = dict.fromkeys(
            str(row["study"]) for need in figure.needs for row in self.rows(need) if row.get("study")
        )
        return " ".join(filter(None, map(self.ran, studies))) or f"Command: `{figure.command}`."

    def ran(self, study: str) -> str:
        """A study, and the command that ran it; nothing where that is not known."""
        run = next((row["command"] for row in self.rows("studies") if row["study"] == study), "")
        return f"Study {study}: `{run}`." if run else ""

    def head(self) -> str:
        """What the page is about, and its outcome."""
        study = documented()
        return (
            "# The documented study, reproduced, and its claims put to the test\n\nThe study trained one four-block "
            f"network on CIFAR-10 and reports {100 * study.test_accuracy:.2f} % on the test images ({study.source}). "
            "Is that what this model does, and which of its claims hold? All numbers and figures here come from the "
            f"CSVs in [{self.results}]({self.results}), which one command makes from the studies' results.\n\n"
            f"**{outcome(self.found)}**"
        )

    def verdicts(self) -> str:
        """The ledger."""
        rows = [
            (
                row["claim"], f"**{row['verdict']}**", effect_text(row), probability(row["adjusted_p"]), str(row["seeds"] or ""),
                f"{row['sentence']} `{row['command']}`" if row["verdict"] == "not measured"
                else f"{row['sentence']}{f' ({source})' if (source := row['source']) else ''}",
            )
            for row in self.rows("claims")
        ]  # fmt: skip
        table = markdown(("claim", "verdict", "effect [95 %]", "p Holm", "seeds", "what was found"), rows)
        return (
            f"## Verdicts\n\n{table}\n\nThe rules are [below](#how-each-claim-is-decided), and stand in code "
            f"(`analysis/claim_rules.py`). Claims about differences in accuracy are one family, whose p-values pay for the looks "
            f"at their study and are corrected by Holm's method, which decides; intervals are of 95 % each, where a study's own "
            f"table has those of its Holm level. Numbers, and the command that measured each: {self.csv('claims')}.\n\n"
            f"{self.picture('differences')}"
        )

    def number(self) -> str:
        """The documented accuracy beside those measured here."""
        title = "## The number\n\n"
        if "accuracy" not in self.found:
            return title + NOT_MEASURED.format(command=DOCUMENTED_RUN)
        rows = [
            (
                row["who"], row["precision"], str(row["seeds"]), points(row["value"]), points(row["sd"]),
                ACCURACY.interval(row["low"], row["high"]), row["interval"],
            )
            for row in self.rows("accuracy")
        ]  # fmt: skip
        table = markdown(("", "arithmetic", "seeds", "test %", "SD", "interval", "of what"), rows)
        scale = "" if self.is_measured else (
            f"\n\n**The documented protocol itself is not measured yet** (`{DOCUMENTED_RUN}`): the rows measured here "
            "are of the most telling study at hand, at a smaller scale, and not to be compared with the document's."
        )  # fmt: skip
        parts = [f"{title}{table}{scale}", self.picture("accuracy")]
        ranks = [
            f"{NAMES[row['measure']]} {row['correlation']:.2f}"
            + ("" if math.isnan(row["between_seeds"]) else f" (two seeds of ours {row['between_seeds']:.2f})")
            for row in self.rows("ranks")
        ]
        if ranks:
            parts.append(
                f"How alike document and measurement rank the classes, by Spearman's correlation: {', '.join(ranks)} "
                f"({self.csv('ranks')})."
            )
        return "\n\n".join([*parts, self.arithmetic()])

    def learning(self) -> str:
        """Learning curves of the arms that claims are about."""
        return f"## Learning\n\n{self.picture('learning')}"

    def arithmetic(self) -> str:
        """What fp32 in the place of bf16 moves."""
        for row in self.rows("arithmetic"):
            bounds = ACCURACY.interval(row["low"], row["high"], sign=True)
            return (
                f"In fp32 instead of bf16 the same seeds have {points(row['delta'], sign=True)} points {bounds} "
                f"({row['seeds']} seeds, "
                f"{row['source']}); two one-sided tests bound the difference within {points(row['within'])} points "
                f"({self.csv('arithmetic')})."
            )
        return f"What fp32 instead of bf16 moves is not measured. Command: `{RUN.format(grid='precision')}`"

    @property
    def is_measured(self) -> bool:
        """Whether the documented protocol itself is."""
        return {row["name"]: row["verdict"] for row in self.rows("claims")}["accuracy"] != "not measured"

    def classes(self) -> str:
        """Precision, recall and F1 of each class, documented and measured."""
        cells: dict[str, dict[str, str]] = {}
        for row in self.rows("classes"):
            star = " *" if row["beyond"] and self.is_measured else ""
            values = f"{100 * row['documented']:.0f} / {100 * row['mean']:.1f}{star}"
            cells.setdefault(row["class"], {})[row["measure"]] = values
        if not cells:
            return ""
        rows = [(name, own["precision"], own["recall"], own["f1"]) for name, own in cells.items()]
        scale = "" if self.is_measured else " at a smaller scale than the document's: a pattern, and no reproduction"
        star = (
            "\n\n\\* The documented value lies outside of the 95 % interval for one new seed, and our mean outside of the "
            "documented value's own (other test images, and rounding)."
            if self.is_measured
            else ""
        )
        return (
            f"## The classes\n\nPercent, documented / mean over seeds here{scale}.\n\n"
            f"{markdown(('class', 'precision', 'recall', 'F1'), rows)}{star}\n\n{self.picture('classes')}\n\n"
            f"{self.picture('confusion')}"
        )

    def document(self) -> str:
        """The document against its own numbers."""
        checks = self.rows("document")
        wrong = [(row["check"], row["sentence"]) for row in checks if not row["agrees"]]
        return (
            f"## The document against itself\n\nOf {len(checks)} checks of its numbers against each other "
            f"{len(checks) - len(wrong)} agree within rounding. The others are at odds, or loosely worded:\n\n"
            f"{markdown(('check', 'found'), wrong)}\n\nAll of them: {self.csv('document')}."
        )

    def silence(self) -> str:
        """What other readings of the document give."""
        title = "## How far the document's silence reaches\n\n"
        table = self.rows("undocumented")
        others = [row for row in table if not row["is_baseline"] and not math.isnan(row["delta"])]
        if not others:
            return title + NOT_MEASURED.format(command=UNDOCUMENTED_RUN)
        base = next(row for row in table if row["is_baseline"])
        least, greatest = (choose(others, key=lambda row: float(row["delta"])) for choose in (min, max))
        mean = base["test_mean"]
        rows = [
            (
                row["about"], row["arm"], points(row["test_mean"]), points(row["delta"], sign=True),
                ACCURACY.interval(row["shown_low"], row["shown_high"], sign=True), row["verdict"], str(row["paired_seeds"]),
            )
            for row in others
        ]  # fmt: skip
        heads = ("left open", "reading", "test %", "difference", "interval", "verdict", "seeds")
        return (
            f"{title}Each arm is another reading of the same document. Our own has {points(mean)} % in this study; "
            f"changing one choice at a time, others lie between {points(mean + least['delta'])} % ({least['arm']}) and "
            f"{points(mean + greatest['delta'])} % ({greatest['arm']}). Choices together can reach further; ours stay "
            f"what they are.\n\n{markdown(heads, rows)}\n\n{base['source']}; intervals are adjusted for the number of "
            f"arms.\n\n{self.picture('undocumented')}\n\n{self.chosen_epoch()}"
        )

    def chosen_epoch(self) -> str:
        """Whether it matters that the document does not say which epoch's weights it tested, and on what they were chosen."""
        words = (
            "Which 5,000 images validate moves nothing here: the last epoch's weights are the result, and no epoch is "
            "chosen. The document does not say whether it chose one."
        )
        own = [row for row in self.rows("curves") if row["is_baseline"]]
        seeds: dict[Any, list[float]] = {}
        for row in sorted(own, key=lambda row: int(row["epoch"])):
            seeds.setdefault(row["seed"], []).append(float(row["validation_accuracy"]))
        if not seeds:
            return words
        last = sum(values[-1] == max(values) for values in seeds.values())
        lost = max(max(values) - values[-1] for values in seeds.values())
        return (
            f"{words} By validation accuracy the last epoch was the best in {last} of {len(seeds)} seeds, and the best "
            f"epoch of any seed was {points(lost)} points ahead of its last ({self.csv('curves')})."
        )

    def inference(self) -> str:
        """Whether a pattern over classes says anything about shape."""
        return f"## From classes to shape\n\n{self.picture('control')}"

    def inside(self) -> str:
        """Shape bias, attention and reliance of the baseline."""
        lines = []
        for row in self.rows("shape_bias"):
            lines.append(
                f"Shape bias {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]: {row['shape_hits']:.0f} answers by shape, "
                f"{row['texture_hits']:.0f} by texture, {row['neither']:.0f} neither; of the stimuli whose cues agree "
                f"{row['agreeing']:.0%} are named right ({row['source']}; {self.csv('shape_bias')})."
            )
        looks = [
            f"{row['measure']} {row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], of a blob in the middle "
            f"{row['centre']:+.3f}, of the image's edges {row['edges']:+.3f}"
            for row in self.rows("attention")
        ]
        if looks:
            lines.append(f"Attention: {'; '.join(looks)} ({self.csv('attention')}).")
        kept = [f"{row['change']} {row['value']:.2f}" for row in self.rows("reliance")]
        if kept:
            lines.append(
                f"Accuracy kept under changes of the test images, as a share: {', '.join(kept)} ({self.csv('reliance')})."
            )
        lines += [self.picture(name) for name in MEASURED if name in self.found]
        lines += self.gallery()
        return "\n\n".join(["## Shape, attention and reliance", *(lines or [NOT_MEASURED.format(command=MEASURE)])])

    def gallery(self) -> list[str]:
        """Where the networks look on single images."""
        rows = self.rows("gallery")
        if not rows:
            return []
        classes, seeds = (list(dict.fromkeys(str(row[name]) for row in rows)) for name in ("true_class", "seed"))
        count = len({row["image"] for row in rows})
        caption = (
            f"Where the networks look on {counted(count, 'image')} of the class {', '.join(classes)}: the map of each network's "
            "answer, over its own mean."
        )
        options = f"--pick typical --images {count} --seeds {' '.join(seeds)} --data PATH_TO_CIFAR10"
        drawn = (
            f"python experiments/gallery.py RESULTS/studies/{rows[0]['study']} --classes {' '.join(classes)} {options}"
        )
        return [
            f"![{caption}]({self.results}/gallery.png)",
            f"{caption} Numbers: {self.csv('gallery')}. {self.ran(rows[0]['study'])} Drawn at the end of "
            f"`reproduce_baseline.py`, or by `{drawn}`.",
        ]

    def memory(self) -> str:
        """What a card of 15 GB holds."""
        rows = [
            (row["network"], f"{row['bytes'] / 2**30:.2f} GB", str(row["largest_batch"]))
            for row in self.rows("memory")
            if row["width"] == 1 and row["blocks"] <= MOST_BLOCKS
        ]
        heads = ("network", "a step at batch 64, fp32", "largest batch on 15 GB")
        card = (
            "The document speaks of Google Colab's limits and names no card; a T4 is taken, of 15 GB (as all GB here, of 2^30 "
            "bytes)."
        )
        return f"## Memory\n\n{card}\n\n{markdown(heads, rows)}\n\n{self.picture('memory')}" if rows else ""

    def rules(self) -> str:
        """How each claim is decided."""
        rows = [(row["claim"], row["section"], row["measure"], row["rule"]) for row in self.rows("claims")]
        return (
            f"## How each claim is decided\n\n{markdown(('claim', 'section of the document', 'measure', 'rule'), rows)}"
        )

    def how(self) -> str:
        """Which studies were run, and the command that makes the page."""
        rows = [
            (
                row["study"], row["protocol"], str(row["arms"]), str(row["cells"]), row["arithmetic"], row["device"],
                duration(3600 * row["hours"]),
            )
            for row in self.rows("studies")
        ]  # fmt: skip
        table = markdown(
            ("study", "protocol", "arms", "cells", "arithmetic", "device", "time, summed over cells"), rows
        )
        ran = f"{table}\n\nNumbers: {self.csv('studies')}. " if rows else ""
        return f"## What was run\n\n{ran}The page, its tables and figures are made from the results by\n\n```bash\n{COLLECT}\n```"
