"""Each rule of the ledger, on networks that answer as the case asks for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.cell import SplitSizes
from ablations.record import Command
from analysis.claim_rules import CARD, SIX_BLOCKS, batch_norm_stabilises, spread_interval
from analysis.claims import CLAIMS, ledger
from analysis.documented_tables import arithmetic
from analysis.evidence import KINDS, Evidence, arm_with
from analysis.looks import plan_looks
from analysis.memory import largest_batch, memory_table, step_bytes
from analysis.outcomes import Outcomes
from analysis.reproduction import is_the_documented_network
from analysis.shape_blind import answers, features, recall_table
from analysis.statistics import holm
from analysis.studied import Answers, Description, StudiedArm, cell_table
from analysis.study_tables import StudyTables
from cnnkit.data import CLASSES
from cnnkit.description import CIFAR10_GROUPS, cifar10
from cnnkit.metrics import Epoch
from cnnkit.recipe import Recipe
from cnnkit.spec import BASELINE

IMAGES = 2_000
NO_AUGMENTATION = {f"augmentation.{name}": 0.0 for name in ("flip", "rotation", "brightness", "contrast", "saturation")}


def study(
    rates: dict[str, list[float]],
    changes: dict[str, dict[str, Any]] | None = None,
    *,
    by_class: dict[str, float] | None = None,
    curves: dict[tuple[str, int], list[Epoch]] | None = None,
    source: str = "full",
    train: int = 8_000,
    name: str = "claims-quick",
) -> StudyTables:
    """A study of the documented network at 64 pixels. The first arm is the baseline.

    Args: rates: accuracies of each arm's seeds. changes: of the baseline, by arm. by_class: accuracies of classes, in the
        place of rates.
    """
    labels = np.repeat(np.arange(10), IMAGES // 10)
    baseline, changes = next(iter(rates)), changes or {}
    predictions: dict[str, dict[int, np.ndarray]] = {}
    for arm, values in rates.items():
        predictions[arm] = {}
        for seed, rate in enumerate(values):
            place = np.random.default_rng(seed).permuted(np.tile(np.arange(IMAGES // 10), (10, 1)), axis=1).ravel()
            wanted = np.array([(by_class or {}).get(CLASSES[label], rate) for label in labels])
            right = place < np.round(wanted * IMAGES / 10)
            predictions[arm][seed] = np.where(right, labels, (labels + 1) % 10).astype(np.uint8)
    spec, recipe = BASELINE.vary(image_size=64).model_dump(mode="json"), Recipe().model_dump(mode="json")
    arms = tuple(
        StudiedArm(arm, is_baseline=arm == baseline, changes=changes.get(arm, {}), spec={**spec, **changes.get(arm, {})},
                   recipe=recipe, epochs=5)
        for arm in rates
    )  # fmt: skip
    rows = [
        {
            "arm": arm,
            "is_baseline": arm == baseline,
            "seed": seed,
            "status": "finished",
            "precision": "bf16",
            "test_accuracy": rate,
        }
        for arm, values in rates.items()
        for seed, rate in enumerate(values)
    ]
    return StudyTables(
        Outcomes(
            arms=arms, classes=CLASSES, cells=cell_table(rows), read_answers=lambda: Answers(labels, predictions),
            groups=CIFAR10_GROUPS, curves=curves or {},
            study=Description(name, protocol="quick", data=cifar10(fingerprint="abc", source=source),
                              split=SplitSizes(train=train, validation=5_000, test=IMAGES)),
        )
    )  # fmt: skip


def found(name: str, *studies: StudyTables, **evidence: Any) -> pd.Series:
    return ledger(Evidence(studies, **evidence)).set_index("name").loc[name]


FIVE = [0.57, 0.58, 0.575, 0.582, 0.577]


def shifted(by: float, spread: float = 0.0) -> list[float]:
    return [rate + by + spread * (-1) ** seed for seed, rate in enumerate(FIVE)]


def test_without_studies_everything_that_needs_one_is_not_measured_and_has_a_command():
    table = ledger(Evidence(()))
    assert set(table["verdict"]) == {"not measured", "not testable"}
    assert table.loc[table["verdict"] == "not measured", "command"].str.startswith("python experiments/").all()
    assert len(table) == len(CLAIMS) >= 15


def test_every_claim_has_its_words_and_a_name_of_its_own():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.claim.endswith(".")
        assert claim.measure
        assert claim.rule
        assert claim.section


@pytest.mark.parametrize(
    ("name", "changed", "better_by"),
    [
        ("dropout", {"dropout": 0.0}, -0.04),
        ("augmentation", NO_AUGMENTATION, -0.04),
        ("depth", {"widths": SIX_BLOCKS}, 0.04),
        ("longer training", {"epochs": 10}, 0.04),
    ],
)
def test_a_claim_about_a_difference_is_supported_refuted_or_open_as_the_difference_says(name, changed, better_by):
    base, other = FIVE, "changed"

    def verdict(by: float, spread: float = 0.0) -> str:
        row = found(name, study({"baseline": base, other: shifted(by, spread)}, {other: changed}))
        assert row["seeds"] == 5
        assert row["source"] == "claims-quick (quick, 64 pixels, 8,000 training images, 5 epochs) on CIFAR-10"
        assert row["low"] < row["effect"] < row["high"]
        return str(row["verdict"])

    assert verdict(better_by) == "supported"
    assert verdict(-better_by) == "not supported"
    assert verdict(better_by / 4, spread=0.03) == "inconclusive"
    row = found(name, study({"baseline": base, other: shifted(better_by / 4, 0.03)}, {other: changed}))
    assert "further seeds" in row["sentence"]


def test_an_effect_within_a_point_is_not_supported_and_says_so():
    row = found("dropout", study({"baseline": FIVE, "none": FIVE}, {"none": {"dropout": 0.0}}))
    assert row["verdict"] == "not supported"
    assert "within one point of 0" in row["sentence"]


def test_the_differences_of_all_claims_are_corrected_together():
    changes = {"none": {"dropout": 0.0}, "six": {"widths": SIX_BLOCKS}, "long": {"epochs": 10}}
    rates = {
        "baseline": FIVE,
        **{arm: shifted(by, 0.008) for arm, by in (("none", -0.011), ("six", 0.011), ("long", 0.011))},
    }
    one = found("depth", study({k: rates[k] for k in ("baseline", "six")}, {"six": changes["six"]}))
    all_of_them = found("depth", study(rates, changes))
    assert one["effect"] == all_of_them["effect"]
    assert one["verdict"] == "supported"
    assert all_of_them["verdict"] != "supported"
    assert holm([0.02, 0.02, 0.02]).tolist() == pytest.approx([0.06] * 3)


def test_a_study_that_was_looked_at_twice_pays_for_both_looks():
    one = study({"baseline": FIVE, "six": shifted(0.011, 0.008)}, {"six": {"widths": SIX_BLOCKS}})
    assert found("depth", one)["verdict"] == "supported"
    commands = [
        Command(time=f"2026-01-0{day}", arguments=[], seeds=seeds, finished_before=before)
        for day, seeds, before in ((1, 3, 0), (2, 5, 6))
    ]
    outcomes = replace(one.outcomes, study=replace(one.outcomes.study, commands=commands))
    assert outcomes.looks == 2
    assert found("depth", StudyTables(outcomes))["verdict"] == "inconclusive"
    planned = replace(one.outcomes.study, looks=plan_looks(3, 5).plan)
    assert found("depth", StudyTables(replace(one.outcomes, study=planned)))["verdict"] == "inconclusive"


def test_the_more_telling_study_decides():
    changed = {"six": {"widths": SIX_BLOCKS}}
    full = study({"baseline": FIVE[:3], "six": shifted(0.05)[:3]}, changed, name="full")
    sample = study({"baseline": FIVE, "six": shifted(-0.05)}, changed, source="sample", name="sample")
    more = study({"baseline": FIVE, "six": shifted(0.05)}, changed, name="more")
    assert found("depth", sample)["verdict"] == "not supported"
    assert found("depth", sample, full)["source"].startswith("full")
    assert found("depth", full, more, sample)["source"].startswith("more")


def test_residual_links_are_judged_between_the_two_arms_with_two_convolutions():
    changes = {"plain": {"convs_per_block": 2}, "linked": {"convs_per_block": 2, "residual": True}}
    row = found("residual links", study({"baseline": shifted(0.2), "plain": FIVE, "linked": shifted(0.04)}, changes))
    assert row["verdict"] == "supported"
    assert row["effect"] == pytest.approx(0.04, abs=0.002)


def test_that_depth_needs_dropout_is_the_difference_of_two_differences():
    six, none = {"widths": SIX_BLOCKS}, {"dropout": 0.0}
    changes = {"none": none, "six": six, "both": {**six, **none}}
    rates = {"baseline": FIVE, "none": shifted(0.01), "six": shifted(0.05), "both": shifted(0.0)}
    row = found("depth needs dropout", study(rates, changes))
    assert row["effect"] == pytest.approx((0.05 - 0.0) - (0.0 - 0.01), abs=0.002)
    assert row["verdict"] == "supported"
    reverse = found("depth needs dropout", study({**rates, "both": shifted(0.15)}, changes))
    assert reverse["verdict"] == "not supported"


VEHICLES = dict.fromkeys(CIFAR10_GROUPS["vehicles"], 0.8)
ANIMALS = dict.fromkeys(CIFAR10_GROUPS["animals"], 0.5)


def test_vehicles_are_compared_with_animals_by_mean_recall():
    row = found("vehicles", study({"baseline": FIVE}, by_class={**VEHICLES, **ANIMALS}))
    assert row["verdict"] == "supported"
    assert row["effect"] == pytest.approx(0.3)
    even = found("vehicles", study({"baseline": FIVE}, by_class=dict.fromkeys(CLASSES, 0.6)))
    assert even["verdict"] == "not supported" or even["verdict"] == "inconclusive"
    assert even["effect"] == pytest.approx(0)


def test_the_three_named_classes_have_to_lead_all_others():
    leading = {**dict.fromkeys(CLASSES, 0.5), **dict.fromkeys(("automobile", "ship", "truck"), 0.9)}
    rates = {"baseline": FIVE}
    # Answers that are wrong go to the next class, so that the seeds' F1 differ only by rounding.
    assert found("rigid", varied(study(rates, by_class=leading)))["verdict"] == "supported"
    frog = {**leading, "deer": 1.0, "frog": 1.0, "horse": 1.0}
    assert found("rigid", varied(study(rates, by_class=frog)))["verdict"] == "not supported"


def varied(of: StudyTables) -> StudyTables:
    """The same with a few answers of each seed changed, so that seeds differ."""
    outcomes = of.outcomes
    changed = {}
    for seed, predicted in outcomes.predictions["baseline"].items():
        dice = np.random.default_rng(seed)
        places = dice.choice(len(predicted), 60, replace=False)
        new = predicted.copy()
        new[places] = dice.integers(0, 10, 60)
        changed[seed] = new
    answers = Answers(outcomes.labels, {"baseline": changed})
    return StudyTables(replace(outcomes, read_answers=lambda: answers))


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ([0.57, 0.575, 0.572, 0.578, 0.574], "supported"),
        ([0.5, 0.6, 0.4, 0.65, 0.45, 0.58, 0.5, 0.62], "not supported"),
        ([0.55, 0.58, 0.57], "inconclusive"),
    ],
)
def test_training_is_stable_if_the_spread_over_seeds_is_small_for_sure(rates, verdict):
    assert found("stability", study({"baseline": rates}))["verdict"] == verdict


def test_a_diverged_seed_is_not_stable():
    one = study({"baseline": [0.57, 0.575, 0.572, 0.578, 0.574]})
    cells = one.outcomes.cells.copy()
    lost = cells.iloc[[0]].assign(seed=9, status="diverged")
    diverged = StudyTables(replace(one.outcomes, cells=pd.concat([cells, lost], ignore_index=True)))
    row = found("stability", diverged)
    assert row["verdict"] == "not supported"
    assert "1 seed diverged" in row["sentence"]


def test_the_interval_of_a_spread_covers_what_it_says():
    dice = np.random.default_rng(0)
    spreads = dice.normal(0, 0.01, size=(4_000, 5)).std(axis=1, ddof=1)
    inside = [low <= 0.01 <= high for low, high in (spread_interval(sd, 5) for sd in spreads)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def epochs(accuracies: list[float], *, train_loss: float = 1.2, validation_loss: float = 1.2) -> list[Epoch]:
    return [
        Epoch(epoch=place + 1, train_loss=train_loss, validation_loss=validation_loss, validation_accuracy=accuracy,
              learning_rate=1e-4, train_seconds=1, evaluate_seconds=1)
        for place, accuracy in enumerate(accuracies)
    ]  # fmt: skip


def normless(with_norm: list[float], without: list[float], spread: float = 0.005) -> StudyTables:
    curves = {
        (arm, seed): epochs([value + spread * (-1) ** seed * (arm == "baseline") for value in values])
        for arm, values in (("baseline", with_norm), ("no batch norm", without))
        for seed in range(5)
    }
    rates = {"baseline": FIVE, "no batch norm": shifted(-0.1)}
    return study(rates, {"no batch norm": {"batch_norm": False}}, curves=curves)


def test_batch_norm_speeds_up_if_the_first_epoch_is_ahead():
    row = found("batch norm speeds up", normless([0.5, 0.55, 0.6], [0.3, 0.4, 0.5]))
    assert row["verdict"] == "supported"
    assert row["effect"] == pytest.approx(0.2, abs=0.01)
    assert "it has after epoch 1" in row["sentence"]
    assert found("batch norm speeds up", normless([0.3, 0.4, 0.5], [0.5, 0.55, 0.6]))["verdict"] == "not supported"
    assert found("batch norm speeds up", normless([0.31, 0.4], [0.3, 0.4], spread=0.05))["verdict"] == "inconclusive"


def test_batch_norm_stabilises_if_seeds_spread_less_by_an_f_test():
    def one(with_norm: list[float], without: list[float]) -> StudyTables:
        return study({"baseline": with_norm, "no": without}, {"no": {"batch_norm": False}})

    tight, loose = [0.5, 0.505, 0.51, 0.5, 0.505], [0.3, 0.5, 0.4, 0.6, 0.45]
    assert found("batch norm stabilises", one(tight, loose))["verdict"] == "supported"
    assert found("batch norm stabilises", one(loose, tight))["verdict"] == "not supported"
    open_ = batch_norm_stabilises(Evidence((one([0.5, 0.52, 0.54], [0.5, 0.53, 0.56]),)))
    assert open_.kind == "inconclusive"
    assert "seeds would settle it" in open_.sentence
    ratio = np.std(tight, ddof=1) / np.std(loose, ddof=1)
    found_ = batch_norm_stabilises(Evidence((one(tight, loose),)))
    assert found_.effect == pytest.approx(ratio, rel=0.2)  # accuracies are whole images
    p = stats.f.cdf(found_.effect**2 / found_.high**2, 4, 4)
    assert p == pytest.approx(0.025)


def shuffled(learnt: float, memorised: float, spread: float = 0.01) -> StudyTables:
    """Losses by which so many nats are learnt of new images, and kept of shuffled labels."""
    nats = np.log(10)
    curves = {}
    for seed in range(5):
        noise = spread * (-1) ** seed
        curves["baseline", seed] = epochs([0.5], validation_loss=float(nats - learnt + noise))
        curves["random", seed] = epochs([0.1], train_loss=float(nats - memorised))
    return study({"baseline": FIVE, "random": [0.1] * 5}, {"random": {"random_labels": 1.0}}, curves=curves)


def test_it_learns_if_it_knows_more_of_new_images_than_it_keeps_of_shuffled_labels():
    assert found("learning", shuffled(1.0, 0.01))["verdict"] == "supported"
    assert found("learning", shuffled(0.2, 1.5))["verdict"] == "not supported"
    assert found("learning", shuffled(0.5, 0.5, spread=0.2))["verdict"] == "inconclusive"


def measured(of: StudyTables, **tables: pd.DataFrame) -> StudyTables:
    of.__dict__["measures"] = type(
        "Given", (), {name: tables.get(name, pd.DataFrame()) for name in ("shape_bias", "baseline_attention")}
    )()
    return of


def bias(value: float, half: float = 0.05, competent: bool = True) -> StudyTables:
    table = pd.DataFrame(
        [{"arm": "baseline", "is_baseline": True, "seeds": 5, "value": value, "low": value - half, "high": value + half,
          "shape_hits": 60, "texture_hits": 40, "neither": 110, "agreeing": 0.7 if competent else 0.3, "competent": competent}]
    )  # fmt: skip
    return measured(study({"baseline": FIVE}), shape_bias=table)


def test_a_shape_bias_is_claimed_of_a_network_that_can_name_the_stimuli_only():
    assert found("shape bias", bias(0.7))["verdict"] == "supported"
    assert found("shape bias", bias(0.3))["verdict"] == "not supported"
    assert found("shape bias", bias(0.52))["verdict"] == "inconclusive"
    assert found("shape bias", bias(0.7, competent=False))["verdict"] == "not testable"


def looks(lift: float, specificity: float, *, blob: float = 0.16, half: float = 0.02) -> StudyTables:
    rows = [
        {"arm": "baseline", "is_baseline": True, "measure": name, "seeds": 5, "value": value, "low": value - half,
         "high": value + half, "centre": blob if name == "lift" else 0.0, "edges": 0.1 if name == "lift" else 0.01}
        for name, value in (("lift", lift), ("specificity", specificity))
    ]  # fmt: skip
    return measured(study({"baseline": FIVE}), baseline_attention=pd.DataFrame(rows))


def test_attention_to_the_object_has_to_beat_maps_that_know_no_network():
    assert found("attention", looks(0.3, 0.08))["verdict"] == "supported"
    assert found("attention", looks(0.1, 0.08))["verdict"] == "not supported"  # a blob in the middle does better
    assert found("attention", looks(0.3, -0.05))["verdict"] == "not supported"
    assert found("attention", looks(0.17, 0.08))["verdict"] == "inconclusive"


def test_errors_are_compared_with_right_answers_of_equal_confidence():
    def row(value: float, half: float = 0.02) -> pd.DataFrame:
        return pd.DataFrame(
            [{"is_baseline": True, "seeds": 5, "wrong_value": value, "wrong_low": value - half, "wrong_high": value + half,
              "background_value": 0.1, "background_low": 0.05, "background_high": 0.15, "source": "a study"}]
        )  # fmt: skip

    assert found("errors", composites=row(0.08))["verdict"] == "supported"
    assert found("errors", composites=row(-0.08))["verdict"] == "not supported"
    assert found("errors", composites=row(0.01))["verdict"] == "inconclusive"


def test_the_inference_falls_with_a_control_that_shows_the_pattern_and_stands_with_one_that_does_not():
    def control(difference: float, half: float) -> pd.DataFrame:
        rows = [
            {"kind": "class", "class": name, "recall": 0.5 + place / 100, "low": 0.4, "high": 0.6, "images": 200}
            for place, name in enumerate(CLASSES)
        ]
        return pd.DataFrame(
            [*rows, {"kind": "difference", "class": "vehicles - animals", "recall": difference, "low": difference - half,
                     "high": difference + half, "images": 2_000}]
        )  # fmt: skip

    assert found("inference", control=control(0.2, 0.02))["verdict"] == "not supported"
    assert found("inference", control=control(-0.05, 0.02))["verdict"] == "supported"
    assert found("inference", control=control(0.01, 0.03))["verdict"] == "inconclusive"


def test_a_classifier_on_colours_and_grey_steps_does_better_on_vehicles_of_real_images(sample):
    answered = answers(sample.train.images, sample.train.labels, sample.test.images)
    table = recall_table(answered, sample.test.labels, CLASSES, CIFAR10_GROUPS)
    assert (answered == sample.test.labels).mean() > 0.25  # it has learnt something
    row = table[table["kind"] == "difference"].iloc[0]
    assert row["low"] > 0
    own = table[table["kind"] == "class"].set_index("class")["recall"]
    means = [own[list(members)].mean() for members in CIFAR10_GROUPS.values()]
    assert row["recall"] == pytest.approx(means[0] - means[1])


def test_the_control_sees_no_places(sample):
    """Halves of an image that change places, far from each other's border, change next to nothing."""
    images = sample.test.images[:100]
    own, moved, others = (features(one) for one in (images, np.roll(images, 16, axis=3), images[::-1]))
    assert np.abs(own - moved).mean() < 0.1 * np.abs(own - others).mean()


def test_the_largest_batch_is_the_last_that_fits():
    batch = largest_batch(BASELINE, CARD)
    assert step_bytes(BASELINE, batch) <= CARD < step_bytes(BASELINE, batch + 1)
    assert largest_batch(BASELINE, 1) == 0


def test_memory_is_claimed_to_be_short_only_if_something_within_reach_does_not_fit():
    def verdicts(card: int) -> tuple[str, str]:
        table = memory_table(card)
        larger = found("larger batches", memory=table)
        own = table[(table["blocks"] == 4) & (table["convolutions"] == 1) & (table["width"] == 1)].iloc[0]
        assert larger["effect"] == own["largest_batch"]
        return larger["verdict"], found("deeper networks", memory=table)["verdict"]

    assert verdicts(CARD) == ("supported", "not supported")
    assert verdicts(CARD * 8) == ("not supported", "not supported")


def test_what_whole_cells_took_of_a_gpu_is_said_beside_the_estimate():
    outcomes = study({"baseline": FIVE[:2]}).outcomes
    arm = replace(outcomes.baseline, spec={**outcomes.baseline.spec, "image_size": 224})
    cells = outcomes.cells.assign(peak_memory=[3 * 2**30, 5 * 2**30], device="a card")
    on_a_gpu = StudyTables(replace(outcomes, arms=(arm,), cells=cells))
    said = found("larger batches", on_a_gpu, memory=memory_table(CARD))["sentence"]
    assert said.endswith("A whole cell, evaluation in batches of 250 images included, reserved 5 GB on a card in bf16.")
    assert "reserved" not in found("larger batches", study({"baseline": FIVE}), memory=memory_table(CARD))["sentence"]


def test_a_deeper_network_that_needs_more_than_the_card_is_found():
    table = memory_table(CARD)
    deepest = table["blocks"].eq(7) & table["width"].eq(1)
    row = found("deeper networks", memory=table.assign(bytes=table["bytes"].where(~deepest, CARD + 1)))
    assert row["verdict"] == "supported"
    assert "7 blocks" in row["sentence"]


def test_transfer_takes_the_best_pretrained_network_beside_the_documented_one():
    changes = {"fine": {}, "frozen": {}}
    one = study({"baseline": FIVE, "fine": shifted(0.2), "frozen": shifted(-0.1)}, changes)
    arms = tuple(
        arm if arm.is_baseline else replace(arm, spec={"factory": "net"}, start="weights from elsewhere")
        for arm in one.outcomes.arms
    )
    row = found("transfer", StudyTables(replace(one.outcomes, arms=arms)))
    assert row["verdict"] == "supported"
    assert "fine" in row["sentence"].lower()
    assert found("transfer", one)["verdict"] == "not measured"


def test_arms_are_found_by_what_they_change_whatever_they_are_called():
    one = study({"a": FIVE, "b": FIVE, "c": FIVE}, {"b": {"dropout": 0.0}, "c": {"dropout": 0.0, "batch_norm": False}})
    assert arm_with(one.outcomes, {"dropout": 0.0}).name == "b"
    assert arm_with(one.outcomes, {}).name == "a"
    assert arm_with(one.outcomes, {"batch_norm": False}) is None


def test_another_network_is_not_taken_for_the_documented_one():
    one = study({"baseline": FIVE, "six": shifted(0.05)}, {"six": {"widths": SIX_BLOCKS}})
    assert is_the_documented_network(one.outcomes.baseline)
    other = replace(one.outcomes.baseline, spec={**one.outcomes.baseline.spec, "dropout": 0.1})
    assert not is_the_documented_network(other)
    assert not is_the_documented_network(replace(other, spec={"factory": "net"}))
    foreign = StudyTables(replace(one.outcomes, arms=(other, *one.outcomes.arms[1:])))
    assert found("depth", foreign)["verdict"] == "not measured"


def test_the_arithmetic_is_bounded_by_the_margin_that_two_one_sided_tests_reach():
    one = study({"baseline": FIVE, "in fp32": shifted(0.002, 0.003)}, {"in fp32": {"precision": "fp32"}})
    row = arithmetic(Evidence((one,))).iloc[0]
    pair = Evidence((one,)).pair({"precision": "fp32"})
    effect = pair.tested("").effect
    assert (row["delta"], row["low"], row["high"]) == (effect.delta, effect.low, effect.high)
    assert effect.equivalence_p(row["within"]) == pytest.approx(0.05, rel=0.01)
    reverse = study({"baseline": shifted(0.002, 0.003), "in bf16": FIVE}, {"in bf16": {"precision": "bf16"}})
    assert arithmetic(Evidence((reverse,))).iloc[0]["delta"] == pytest.approx(row["delta"])
    assert arithmetic(Evidence((study({"baseline": FIVE}),))).empty


def test_every_verdict_is_one_of_five():
    table = ledger(Evidence((study({"baseline": FIVE}),), memory=memory_table(CARD)))
    assert set(table["verdict"]) <= set(KINDS)
