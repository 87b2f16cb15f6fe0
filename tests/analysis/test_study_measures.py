"""What measures left of a study that was trained here, as tables, figures and parts of its page."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from ablations.arm import Arm
from ablations.job import Job
from ablations.measuring import measure_study
from ablations.plan import Plan, make_plan
from ablations.protocols import PROTOCOLS
from ablations.store import Store
from ablations.trial import result_of
from analysis import report
from analysis.figures import STYLE
from analysis.measures import Images, ready
from analysis.outcomes import Outcomes
from analysis.page_parts import Picture
from analysis.sections import Source, attention
from analysis.stimuli import read_stimuli
from analysis.stimuli_looks import rows_and_columns
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables
from cnnkit.recipe import Recipe

STORED = Path(__file__).parents[1] / "data" / "results"
SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=32, widths=(4, 8), hidden_width=0), recipe=Recipe(epochs=1)
)
MEASURED = ("shape_bias", "reliance", "attention", "composites")


def grid(baseline: Arm) -> list[Arm]:
    """Does a third block matter?"""
    return [baseline, baseline.variant("3 blocks", {"blocks": 3}, widths=(4, 8, 8))]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, sample) -> Plan:
    """Two arms and three seeds, one cell without weights; all others measured, with reliance of 200 images."""
    data = sample.subset(train=100, validation=50, test=50)
    root = tmp_path_factory.mktemp("measured") / "results"
    store = Store.open(root, data=data.fingerprint, data_description=data.describe())
    plan = make_plan(grid, "g", SMALL, data, store, seeds=range(3), arguments=[], now="2026-01-01")
    store.write_study(plan.study)
    for planned in plan.cells:
        kept = (planned.arm.name, planned.cell.seed) != ("3 blocks", 2)
        job = Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke", keep_weights=kept)
        store.write(result_of(job, plan.data))
    images = sample.test.subset(200, "images")
    train = plan.data.train
    asked = Images(images.images, images.labels, plan.study.data.classes, data.fingerprint, training=train)
    measure_study(store, plan.study, ready(list(MEASURED), read_stimuli(), asked))
    return plan


@pytest.fixture(scope="module")
def study(trained) -> StudyTables:
    return StudyTables(Outcomes.from_store(trained.store.root))


@pytest.mark.parametrize("name", MEASURED)
def test_what_measures_left_is_found_without_the_images_and_what_lacks_it_is_named(study, name):
    table = getattr(study.measures, name)
    assert set(table["arm"]) == {"baseline", "3 blocks"}
    assert table.groupby("arm")["seeds"].max().to_dict() == {"baseline": 3, "3 blocks": 2}
    assert study.measures.missing(name) == ["3 blocks, seed 2"]


def test_the_number_of_images_of_a_profile_is_known_though_the_study_tested_on_fewer(study):
    assert (study.measures.reliance["images"] == 200).all()
    assert len(study.outcomes.labels) == 50


@pytest.mark.parametrize("name", [*MEASURED, "stimuli"])
def test_the_figures_of_a_measured_study_are_drawn(study, name):
    with mpl.rc_context(STYLE):
        plt.switch_backend("agg")
        FIGURES[name].draw(study).figure.canvas.draw()
        plt.close("all")


def test_a_study_that_nobody_measured_has_no_tables_and_no_sections(tmp_path):
    plain = StudyTables(Outcomes.from_store(STORED, "depth-smoke"))
    for name in MEASURED:
        assert getattr(plain.measures, name).empty
        assert plain.measures.missing(name) == []
    text = report.write(plain, tmp_path / "report").read_text(encoding="utf-8")
    assert "Shape bias" not in text


def test_the_page_of_a_measured_study_has_its_tables_figures_and_gallery_and_says_what_is_missing(study, tmp_path):
    folder = tmp_path / "report"
    text = report.write(study, folder).read_text(encoding="utf-8")
    for name in MEASURED:
        assert (folder / f"{name}.csv").is_file()
        assert (folder / f"{name}.svg").is_file()
    assert text.count('<li class="card looks"') == 7 * 3
    for title in ("Shape bias", "Reliance", "Attention", "Errors and attention"):
        assert f'">{title}</h2>' in text
    assert text.count("nobody asked (experiments/measure.py): 3 blocks, seed 2.") == 4
    for table in ("shape_bias_otherwise", "shape_bias_by_category", "reliance_by_class"):
        assert (folder / f"{table}.csv").is_file()
        assert f'id="{table}"' in text
    assert "of 6 finished cells: attention 5, composites 5, reliance 5, shape bias 5" in text
    assert "All arms name fewer than half of the stimuli whose cues agree" in text, "they were hardly trained"
    assert len(text) < 5e6


def test_the_baselines_attention_is_that_of_its_own_maps_though_another_arms_are_coarser(study):
    among = study.measures.attention.query("is_baseline and measure == 'lift'").iloc[0]
    alone = study.measures.baseline_attention.query("measure == 'lift'").iloc[0]
    assert study.measures.baseline_attention["is_baseline"].all()
    assert among["resolution"] < among["own_resolution"] == alone["resolution"] == alone["own_resolution"]


def test_nulls_stand_beside_every_arms_number(study):
    measures = study.measures
    biases = measures.shape_bias
    assert biases[["random", "colours", "constant"]].notna().all(axis=None)
    assert (biases["constant"] == 0.5).all()
    assert biases["colours"].nunique() == 1
    assert measures.attention[["random", "added", "own_added", "centre", "edges"]].notna().all(axis=None)
    assert (measures.attention["compared"] == "added").all()
    assert measures.composites[["random", "centre"]].notna().all(axis=None)


def test_shape_bias_is_asked_in_three_ways_and_a_wider_choice_leaves_more_answers_to_neither_cue(study):
    primary, otherwise = study.measures.shape_bias.set_index("arm"), study.measures.shape_bias_otherwise
    assert otherwise["way"].unique().tolist() == [
        "choosing among all 10 classes",
        "stimuli not made as small as the data's images (32 pixels)",
    ]
    wider = otherwise[otherwise["way"].str.startswith("choosing")].set_index("arm")
    assert (wider["neither"] >= primary["neither"]).all()


def test_the_gallery_shows_each_arm_and_can_be_searched_by_shape_arm_and_what_is_named(study):
    source = Source(study, "no images", lambda name: Picture(name, "", "", ""))
    (section,) = attention(source)
    assert len(section.cards) == 7 * 3
    baseline = study.outcomes.baseline.name
    for card in section.cards:
        assert [answer.arm for answer in card.answers] == ["baseline", "3 blocks"]
        assert [answer.is_baseline for answer in card.answers] == [answer.arm == baseline for answer in card.answers]
        for answer, mark in zip(card.answers, card.marks, strict=True):
            assert answer.image.startswith("data:image/jpeg;base64,")
            assert answer.right == (mark["answer"] == "names the shape")
            assert card.title == f"{mark['shape']} made of {mark['texture']}"


def test_stimuli_are_shown_one_a_shape_with_what_the_network_answered_and_where_it_looked(study, trained):
    rows, columns = rows_and_columns(study.measures)
    assert [column.title for column in columns] == ["baseline", "3 blocks"]
    shapes = [row.title.split("\n")[0] for row in rows]
    assert shapes == ["airplane", "bird", "boat", "car", "cat", "dog", "truck"]
    left = study.measures.read("attention").found["3 blocks"][0]
    for row in rows:
        look = row.looks[1]
        (place,) = (k for k, one in enumerate(left["maps"]) if (one == look.map).all())
        answer = study.outcomes.classes[left["logits"][place].argmax()]
        assert look.answer == {"ship": "boat", "automobile": "car"}.get(answer, answer)
        shape, texture = study.measures.outlined.table.loc[place, ["shape", "texture"]]
        assert row.title == f"{shape}\nmade of {texture}"
        assert look.is_right == (look.answer == shape)


def test_outcomes_that_lie_nowhere_have_no_measures(study):
    import dataclasses

    about = dataclasses.replace(study.outcomes.study, folder=None)
    nowhere = StudyTables(dataclasses.replace(study.outcomes, study=about))
    assert nowhere.measures.shape_bias.empty
