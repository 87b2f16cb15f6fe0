import math

import numpy as np
import pytest
from scipy import stats

from analysis.documented import (
    class_intervals,
    documented,
    f1_interval,
    proportion_interval,
    self_checks,
)

STUDY = documented()


def test_the_documents_numbers_agree_with_one_another_but_for_its_split_and_the_classes_it_singles_out():
    checks = self_checks(STUDY).set_index("check")
    wrong = set(checks.index[~checks["agrees"]])
    assert wrong == {
        "the parts make up all images",
        "the split has its stated proportions",
        "which classes do best",
        "which classes do worst",
    }
    assert sum(name.startswith("F1 of") for name in checks.index) == 10
    assert "frog and horse do as well as truck (0.73)" in checks.loc["which classes do best", "sentence"]
    assert "72.7 / 9.1 / 18.2 %" in checks.loc["the split has its stated proportions", "sentence"]


def test_a_check_finds_a_number_that_does_not_follow_from_the_others():
    horse = STUDY.classes["horse"].model_copy(update={"f1": 0.76})
    changed = STUDY.model_copy(update={"classes": {**STUDY.classes, "horse": horse}})
    checks = self_checks(changed).set_index("check")
    assert not checks.loc["F1 of horse", "agrees"]
    assert checks.loc["F1 of frog", "agrees"]
    lower = STUDY.model_copy(update={"test_accuracy": 0.6689})
    assert not self_checks(lower).set_index("check").loc["accuracy is the mean recall", "agrees"]


def test_the_documented_accuracy_is_known_to_about_a_point_from_its_test_set_alone():
    low, high = STUDY.accuracy_interval()
    # Wilson's formula, written out.
    p, n, z = 0.6589, 10_000, stats.norm.ppf(0.975)
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)),
    )
    assert (low, high) == pytest.approx((centre - half, centre + half))
    assert (high - low) / 2 == pytest.approx(0.0093, abs=5e-5)


def test_the_interval_of_f1_covers_what_it_says():
    # 300 images of a class, of which 0.7 are found, and 100 others taken for it: F1 of counts drawn anew.
    dice = np.random.default_rng(0)
    both, either = 210, 400
    true = 2 * both / (either + both)
    drawn = dice.binomial(either, both / either, size=2_000)
    inside = [low <= true <= high for low, high in (f1_interval(int(count), either) for count in drawn)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_each_class_has_an_interval_around_its_rounded_value():
    table = class_intervals(STUDY)
    assert len(table) == 30
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    cat = table[(table["class"] == "cat") & (table["measure"] == "recall")].iloc[0]
    assert (cat["low"], cat["high"]) == pytest.approx(proportion_interval(390, 1000))
