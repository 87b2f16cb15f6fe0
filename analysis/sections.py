"""The sections of a report, each made from a study by a function of its own. `MAKERS` has them in the page's order."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ablations.aliasing import size_in_words, what_is_clear
from ablations.text import quoted
from ablations.units import counted
from analysis import measure_tables, reproduction_tables, stimuli_looks, tables
from analysis.flipping import FlippingImage, flipping_images
from analysis.kept_looks import GALLERY, KeptImage, KeptLooks
from analysis.page_parts import Answer, Card, Picture, Section
from analysis.pairs import MOST_ARMS
from analysis.reliance import CHANGES
from analysis.render import Table, with_minus_signs
from analysis.sheets import MOST, Look, overlay
from analysis.statistics import SIGNIFICANT
from analysis.study_tables import StudyTables
from analysis.thumbnails import TestImages, data_uri
from cnnkit.errors import UserError


@dataclass(frozen=True)
class Source:
    """What sections are made from."""

    study: StudyTables
    images: TestImages | str
    """The test images, or why they are not there: a sentence."""
    draw: Callable[[str], Picture]
    """A figure of the study, by its name."""

    def pictures(self, *names: str) -> list[Picture]:
        """Figures, by their names."""
        return [self.draw(name) for name in names]

    def drawn(self, *names: str) -> list[Picture]:
        """Those of them that have something to show."""
        return [picture for picture in self.pictures(*names) if picture.image]


Maker = Callable[[Source], list[Section]]


def effects(source: Source) -> list[Section]:
    """Differences to the baseline, and what they cost."""
    study = source.study
    title, arms = study.outcomes.study.name, len(study.outcomes.arms)
    details = []
    if not study.variances.empty:
        details.append(
            ("Variances over seeds, own and moderated", tables.variances(study.variances, metric=study.metric))
        )
    if not study.pairs.empty:
        details.append((f"All {len(study.pairs)} pairs of arms", tables.pairs(study.pairs, metric=study.metric)))
    too_many = (
        f"{arms} arms are too many for a table of all pairs; report.py --against compares all with any one of them."
    )
    if arms == 1:
        return [
            Section(
                "Accuracy and costs",
                tables=[tables.effects_of(study, title=title), tables.arms(study.effects, title=title)],
            )
        ]
    single_runs = "Single runs against the baseline: each differs from it in about half of all factors at once."
    return [
        Section(
            "Effects",
            [*([single_runs] if study.screening else []), *([too_many] if arms > MOST_ARMS else [])],
            figures=[*source.pictures("forest"), *source.drawn("cost", "steps")],
            tables=[
                tables.effects_of(study, title=title),
                *([] if study.outcomes.study.source else [tables.arms(study.effects, title=title)]),
            ],
            details=details,
        )
    ]


def class_questions(source: Source) -> list[Section]:
    """What was asked about classes, beforehand or later; nothing of it where nobody asked."""
    study = source.study
    asked = study.outcomes.study.class_questions
    if not asked:
        return []
    before = [quoted(question.name) for question in asked if question.finished_before == 0]
    later = [f"{quoted(question.name)} ({question.asked})" for question in asked if question.finished_before]
    texts = [
        f"Asked before any arm was trained, so that a significant answer confirms: {', '.join(before)}."
        if before
        else "",
        f"Asked later, so that a significant answer wants to be confirmed on new seeds: {', '.join(later)}."
        if later
        else "",
    ]
    found = study.class_questions
    lacking = [question.name for question in asked if question.name not in set(found["class"])]
    if lacking:
        texts.append(
            f"Nothing can be said of {', '.join(map(quoted, lacking))}: too few test images, or none read yet."
        )
    shown = [tables.class_questions(found, baseline=study.outcomes.baseline.name)] if len(found) else []
    return [Section("Questions about classes", list(filter(None, texts)), tables=shown)]


def reproduction(source: Source) -> list[Section]:
    """The documented study beside this one; nothing of it where this is not of the documented network."""
    found = source.study.reproduction
    if found is None:
        return []
    verdict = found.verdict
    section = Section(
        "Reproduction",
        [
            f"The documented study reports {100 * found.study.test_accuracy:.2f} %: {verdict.kind}. {verdict.sentence} "
            f"{found.arithmetic}"
        ],
        source.drawn("reproduction", "documented_classes", "confusion"),
        [reproduction_tables.accuracy(found.accuracies)],
        [
            ("Each class, documented and measured", reproduction_tables.classes(found.classes)),
            ("Ranks of the classes", reproduction_tables.ranks(found.ranks)),
            ("The document against its own numbers", reproduction_tables.checks(found.checks)),
        ],
    )
    if not found.confusion.empty:
        section = replace(
            section, details=[*section.details, ("Answers by class", reproduction_tables.confusion(found.confusion))]
        )
    return [section]


def looks(source: Source) -> list[Section]:
    """How the study went through its planned looks; nothing of it where it has at most one."""
    plan, found = source.study.outcomes.study.looks, source.study.looks
    if plan is None or found is None or len(plan.seeds) < 2:
        return []
    return [
        Section(
            "Looks",
            [f"The study was planned with {plan.words}."],
            source.pictures("looks"),
            details=[] if found.empty else [("Each arm at each look", tables.looks(found))],
        )
    ]


def screening(source: Source) -> list[Section]:
    """What a screening design says about each factor; nothing of it where the study is none."""
    study = source.study
    found = study.screening
    if found is None:
        return []
    runs = f"{size_in_words(found.design)}, folded over: each run has a negative with every factor at its other level."
    section = Section(
        "Screening",
        [runs, *what_is_clear(found.design), *found.remarks],
        source.pictures("main_effects", "half_normal"),
        [tables.main_effects(found)],
        [
            ("Which run has which levels", tables.design(found, study.effects)),
            *(
                [("Own and borrowed variances", tables.own_variances(found))]
                if (found.main["prior_df"] > 0).any()
                else []
            ),
        ],
    )
    return [
        section if found.interactions.empty else replace(section, tables=[*section.tables, tables.interactions(found)])
    ]


def factors(source: Source) -> list[Section]:
    """Main effects and interactions; nothing of it where the grid crosses no factors."""
    study = source.study
    if study.design is None:
        return []
    found = study.factor_effects
    return [
        Section(
            "Factors",
            [with_minus_signs(sentence[0].upper() + sentence[1:]) for sentence in found["sentence"]],
            source.pictures("two_factor"),
            [] if found.empty else [tables.factors(found)],
        )
    ]


def learning(source: Source) -> list[Section]:
    """Learning curves, and how far training and validation images lie apart; nothing of it where runs left no curves."""
    fit = source.study.fit
    if source.study.epochs.empty and len(source.study.outcomes.finished):
        return []
    return [
        Section(
            "Learning",
            figures=[*source.pictures("learning_curves"), *source.drawn("losses")],
            tables=[] if fit.empty else [tables.fit(fit)],
        )
    ]


def confidence(source: Source) -> list[Section]:
    """How sure the networks are, and how sure they may be; nothing of it where no logits are known."""
    found = source.study.calibration.by_cell
    if found.empty:
        return []
    return [Section("Confidence", figures=source.drawn("reliability"), tables=[tables.calibration(found)])]


def classes(source: Source) -> list[Section]:
    """Which classes and groups of classes an arm changes, and which confusions; nothing of it where no answers are known."""
    study = source.study
    if not study.outcomes.knows_classes:
        return []
    changes = study.class_effects
    of_class = tables.class_table(study.class_table)
    of_each = (of_class.caption.replace("by class", "of each arm and class"), of_class)
    if changes.empty:  # no arm has a pair
        figures = source.pictures("per_class") if len(study.outcomes.arms) > 1 else []
        return [Section("Classes", figures=figures, details=[of_each])]
    details = [("Differences by class", tables.class_effects(changes)), of_each]
    parts = [("confusions", tables.confusions(study.gained_and_lost))] if len(study.confusions) else []
    if (changes["kind"] != "class").any():
        parts.insert(0, ("differences between groups of classes", tables.groups(changes)))
    section = Section("Classes", figures=source.pictures("per_class"))
    for noun, table in parts:
        section = _worth_showing(section, table, noun)
    return [replace(section, details=[*section.details, *details])]


def _worth_showing(section: Section, table: Table, noun: str) -> Section:
    """With the significant rows of a table, and all of it folded away; rows at p = 1 are nothing to read."""
    found = table.frame["adjusted_p"] < SIGNIFICANT
    everything = (f"All {len(table.frame)} {noun}", table)
    if found.all():
        return replace(section, tables=[*section.tables, table])
    if not found.any():
        words = f"None of the {len(table.frame)} {noun} in the table is significant."
        return replace(section, texts=[*section.texts, words], details=[*section.details, everything])
    excerpt = replace(
        table,
        name=f"{table.name}-significant",
        files=table.name,
        caption=f"{table.caption}: the significant ones",
        frame=table.frame[found],
    )
    return replace(section, tables=[*section.tables, excerpt], details=[*section.details, everything])


def flips(source: Source) -> list[Section]:
    """How many images flip, and which; nothing of it where no arm has a pair."""
    study = source.study
    if study.flips.empty:
        return []
    found = flipping_images(study.outcomes) if study.outcomes.detail == "predictions" else []
    cards: list[Card] = []
    if isinstance(source.images, str):
        words = f"The images themselves are not shown: {source.images}."
    elif not np.array_equal(source.images.labels, study.outcomes.labels):
        words = "The images themselves are not shown: the labels of those that were found are not the study's."
    elif found:
        words = (
            f"{counted(len(found), 'test image')} that flip in at least half of the seeds: those of each arm that flip in most "
            "seeds, by class. An answer is the class that most seeds give; behind it, how many seeds are right."
        )
        cards = [_card(each, source.images, study.outcomes.baseline.name) for each in found]
    else:
        words = "No test image flips in half of the seeds or more."
    return [Section("Images that flip", tables=[tables.flips(study.flips)], cards=cards, about_cards=words)]


def _card(flipping: FlippingImage, images: TestImages, baseline: str) -> Card:
    return Card(
        title=flipping.true_class,
        image=data_uri(images.images[flipping.place]),
        answers=[
            Answer(each.arm, f"{each.most} ({each.right} of {each.of} right)", each.is_right, each.arm == baseline)
            for each in flipping.answers
        ],
        marks=[_mark(flipping.true_class, flip.arm, flip.change) for flip in flipping.flips],
    )


def _mark(true_class: str, arm: str, change: str) -> Mapping[str, str]:
    return {
        "class": true_class,
        "arm": arm,
        "change": {"lost": "baseline right, arm wrong", "gained": "baseline wrong, arm right"}[change],
    }


def shape_bias(source: Source) -> list[Section]:
    """Whether shape or texture decides; nothing of it where no network was asked."""
    measures = source.study.measures
    found = measures.shape_bias
    if found.empty:
        if measures.stimuli is None and not measures.reliance.empty:
            return [Section("Shape bias", ["Neither shape bias nor attention to objects is measured: " + NOT_NAMEABLE])]
        return []
    otherwise, by_category = measures.shape_bias_otherwise, measures.shape_bias_by_category
    return [
        Section(
            "Shape bias",
            [*_lacking(measures.missing("shape_bias")), *_incompetent(found)],
            source.drawn("shape_bias"),
            [measure_tables.shape_bias(found)],
            [
                ("By other ways of asking", measure_tables.shape_bias_otherwise(otherwise)),
                ("By shape category", measure_tables.shape_bias_by_category(by_category)),
            ],
        )
    ]


NOT_NAMEABLE = (
    "the stimuli show airplanes, birds, boats, cars, cats, dogs and trucks, and the data has fewer than two of them."
)


def _incompetent(biases: pd.DataFrame) -> list[str]:
    names = [quoted(name) for name, competent in zip(biases["arm"], biases["competent"], strict=True) if not competent]
    if not names:
        return []
    what = (
        "All arms name" if len(names) == len(biases) > 1 else f"{', '.join(names)} name{'s' if len(names) == 1 else ''}"
    )
    return [f"{what} fewer than half of the stimuli whose cues agree: of such networks a shape bias says little."]


def reliance(source: Source) -> list[Section]:
    """What networks rely on; nothing of it where none was asked."""
    measures = source.study.measures
    found = measures.reliance
    if found.empty:
        return []
    made = set(found["change"])
    left_out = [change.name for change in CHANGES if change.name not in made]
    section = Section("Reliance", _lacking(measures.missing("reliance")), source.drawn("reliance"))
    table = measure_tables.reliance(found, left_out)
    if len(source.study.outcomes.arms) == 1:
        section = replace(section, tables=[table])
    else:
        section = _worth_showing(section, table, "changes of arms")
    by_class = measure_tables.reliance_by_class(measures.reliance_by_class)
    return [replace(section, details=[*section.details, ("By class", by_class)])]


def attention(source: Source) -> list[Section]:
    """Where networks look; nothing of it where none was asked."""
    measures = source.study.measures
    if measures.attention.empty:
        return []
    shown = stimuli_looks.gallery(measures, of_each=max(1, min(3, CARDS // (7 * measures.attention["arm"].nunique()))))
    baseline = source.study.outcomes.baseline.name
    words = (
        "Stimuli with the shape of one thing and the texture of another: of each shape, those to which the arms give most "
        f"different answers (seed {shown.seed}). Over each picture in grey, the Grad-CAM map of what the arm answers, on one "
        f"colour scale: from dark (0) to bright ({MOST:g} times the map's mean, or more). Right: the answer names the shape."
    )
    return [
        Section(
            "Attention",
            _lacking(measures.missing("attention")),
            source.drawn("attention"),
            [measure_tables.attention(measures.attention)],
            cards=[_stimulus(one, shown.arms, baseline) for one in shown.stimuli],
            about_cards=words,
        )
    ]


CARDS = 105
"""Pictures of maps that a page has at most where it need not have more: each takes some 6 kB."""


def _stimulus(shown: stimuli_looks.Shown, arms: Sequence[str], baseline: str) -> Card:
    answers, marks = [], []
    for arm, look in zip(arms, shown.looks, strict=True):
        picture = data_uri(overlay(shown.image, look.map), photo=True)
        answers.append(Answer(arm, _said(look), look.is_right, arm == baseline, picture))
        cue = {shown.shape: "names the shape", shown.texture: "names the texture"}.get(look.answer, "names neither")
        marks.append({"shape": shown.shape, "texture": shown.texture, "arm": arm, "answer": cue})
    image = data_uri(shown.image, photo=True)
    return Card(f"{shown.shape} made of {shown.texture}", image, answers, marks)


def composites(source: Source) -> list[Section]:
    """Whether errors go with looking away from the object; nothing of it where no network was asked."""
    measures = source.study.measures
    if measures.composites.empty:
        return []
    return [
        Section(
            "Errors and attention",
            _lacking(measures.missing("composites")),
            source.drawn("composites"),
            [measure_tables.composites(measures.composites)],
        )
    ]


def gallery(source: Source) -> list[Section]:
    """Where networks look on single images; nothing of it where nobody has made a gallery."""
    folder = source.study.outcomes.study.folder
    sheets = sorted((folder / GALLERY).glob("sheet-*.png")) if folder is not None else []
    if folder is None or not sheets:
        return []
    try:
        kept, texts = KeptLooks.read(folder / GALLERY), []
    except UserError as error:
        kept, texts = None, [f"Not shown image by image: {error}."]
    if kept is None:
        return [Section("Gallery", texts, figures=[_first_of(sheets)])]
    words = (
        f"{counted(len(kept.images), 'image')} of the gallery that was made of this study. Over each picture in grey, the map of "
        f"what a network answers (or of the true class), on one colour scale: from dark (0) to bright ({MOST:g} times the map's "
        f"mean, or more). {counted(len(sheets), 'sheet')} for print and a table lie in the folder {GALLERY}."
    )
    baseline = source.study.outcomes.baseline.name
    cards = [_looked_at(image, kept.networks, baseline) for image in kept.images]
    return [Section("Gallery", cards=cards, about_cards=words)]


def _first_of(sheets: Sequence[Path]) -> Picture:
    caption = (
        "The first sheet of the gallery that was made of this study: images down, networks across, on one colour scale."
    )
    more = f" {counted(len(sheets), 'sheet')} and gallery.csv lie in the folder {GALLERY}." if len(sheets) > 1 else ""
    image = f"data:image/png;base64,{base64.b64encode(sheets[0].read_bytes()).decode()}"
    return Picture("gallery", caption + more, f"Figure: {caption}", image, has_file=False, wide=True)


def _looked_at(image: KeptImage, networks: Sequence[tuple[str, int]], baseline: str) -> Card:
    several = len({seed for _, seed in networks}) > 1
    answers, marks = [], []
    for (arm, seed), look in zip(networks, image.row.looks, strict=True):
        name = f"{arm}, seed {seed}" if several else arm
        picture = data_uri(overlay(image.row.image, look.map), photo=True)
        answers.append(Answer(name, _said(look), look.is_right, arm == baseline, picture))
        mark = {None: "not known", True: "right", False: "wrong"}[look.is_right]
        marks.append({"class": image.true_class or "not known", "arm": arm, "answer": mark})
    return Card(image.row.title, data_uri(image.row.image, photo=True), answers, marks)


def _said(look: Look) -> str:
    """What a network answered, how sure it was, and whether there is a map."""
    return f"{look.answer} {100 * look.probability:.0f} %" + ("" if look.map.any() else ", map is 0 everywhere")


def _lacking(cells: Sequence[str]) -> list[str]:
    """A sentence on finished cells that were not measured; none where all were."""
    if not cells:
        return []
    return [f"Not measured, because weights are missing or nobody asked (experiments/measure.py): {'; '.join(cells)}."]


MAKERS: Sequence[Maker] = (
    reproduction,
    screening,
    effects,
    class_questions,
    looks,
    factors,
    learning,
    confidence,
    classes,
    shape_bias,
    reliance,
    attention,
    composites,
    gallery,
    flips,
)


def make_all(source: Source) -> list[Section]:
    """Every section that the study has something for."""
    return [section for make in MAKERS for section in make(source)]
