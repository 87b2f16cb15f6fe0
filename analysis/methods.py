"""A methods paragraph ready to paste, and the references that it cites, from what a study's records say."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ablations.record import loads_weights
from ablations.text import quoted
from ablations.units import counted, duration
from analysis.metric import ACCURACY, Metric
from analysis.outcomes import Outcomes
from analysis.sequential import UNLIKELY
from analysis.studied import StudiedArm, in_words
from cnnkit.description import KRIZHEVSKY, DataDescription
from cnnkit.recipe import Augmentation, Recipe
from cnnkit.spec import ConvNetSpec, Spec

SpecT = TypeVar("SpecT", bound=Spec)

BIBTEX = r"""@article{holm1979simple,
  author  = {Sture Holm},
  title   = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics},
  volume  = {6},
  number  = {2},
  pages   = {65--70},
  year    = {1979}
}
@article{cochran1964approximate,
  author  = {William G. Cochran},
  title   = {Approximate Significance Levels of the {Behrens--Fisher} Test},
  journal = {Biometrics},
  volume  = {20},
  number  = {1},
  pages   = {191--195},
  year    = {1964}
}
@article{kim1987design,
  author  = {KyungMann Kim and David L. DeMets},
  title   = {Design and Analysis of Group Sequential Tests Based on the Type {I} Error Spending Rate Function},
  journal = {Biometrika},
  volume  = {74},
  number  = {1},
  pages   = {149--154},
  year    = {1987}
}
@article{glimm2010hierarchical,
  author  = {Ekkehard Glimm and Willi Maurer and Frank Bretz},
  title   = {Hierarchical Testing of Multiple Endpoints in Group-Sequential Trials},
  journal = {Statistics in Medicine},
  volume  = {29},
  number  = {2},
  pages   = {219--228},
  year    = {2010}
}
@article{smyth2004linear,
  author  = {Gordon K. Smyth},
  title   = {Linear Models and Empirical {Bayes} Methods for Assessing Differential Expression in Microarray Experiments},
  journal = {Statistical Applications in Genetics and Molecular Biology},
  volume  = {3},
  number  = {1},
  pages   = {article 3},
  year    = {2004}
}
@article{welch1947generalization,
  author  = {B. L. Welch},
  title   = {The Generalization of {Student's} Problem When Several Different Population Variances Are Involved},
  journal = {Biometrika},
  volume  = {34},
  number  = {1--2},
  pages   = {28--35},
  year    = {1947}
}
@article{plackett1946design,
  author  = {R. L. Plackett and J. P. Burman},
  title   = {The Design of Optimum Multifactorial Experiments},
  journal = {Biometrika},
  volume  = {33},
  number  = {4},
  pages   = {305--325},
  year    = {1946}
}
@article{box1951experimental,
  author  = {George E. P. Box and K. B. Wilson},
  title   = {On the Experimental Attainment of Optimum Conditions},
  journal = {Journal of the Royal Statistical Society, Series B},
  volume  = {13},
  number  = {1},
  pages   = {1--45},
  year    = {1951}
}
@book{searle1992variance,
  author    = {Shayle R. Searle and George Casella and Charles E. McCulloch},
  title     = {Variance Components},
  publisher = {Wiley},
  year      = {1992}
}
@inproceedings{paszke2019pytorch,
  author    = {Adam Paszke and Sam Gross and Francisco Massa and others},
  title     = {{PyTorch}: An Imperative Style, High-Performance Deep Learning Library},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}
@article{liaw2018tune,
  author  = {Richard Liaw and Eric Liang and Robert Nishihara and Philipp Moritz and Joseph E. Gonzalez and Ion Stoica},
  title   = {Tune: A Research Platform for Distributed Model Selection and Training},
  journal = {arXiv preprint arXiv:1807.05118},
  year    = {2018}
}
@inproceedings{geirhos2019imagenet,
  author    = {Robert Geirhos and Patricia Rubisch and Claudio Michaelis and Matthias Bethge and others},
  title     = {{ImageNet}-Trained {CNNs} Are Biased Towards Texture; Increasing Shape Bias Improves Accuracy and Robustness},
  booktitle = {International Conference on Learning Representations},
  year      = {2019}
}
@inproceedings{selvaraju2017grad,
  author    = {Ramprasaath R. Selvaraju and Michael Cogswell and Abhishek Das and Ramakrishna Vedantam and others},
  title     = {{Grad-CAM}: Visual Explanations from Deep Networks via Gradient-Based Localization},
  booktitle = {IEEE International Conference on Computer Vision},
  pages     = {618--626},
  year      = {2017}
}
@inproceedings{adebayo2018sanity,
  author    = {Julius Adebayo and Justin Gilmer and Michael Muelly and Ian Goodfellow and Moritz Hardt and Been Kim},
  title     = {Sanity Checks for Saliency Maps},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {31},
  year      = {2018}
}
@misc{gildenblat2021pytorch,
  author = {Jacob Gildenblat and contributors},
  title  = {{PyTorch} Library for {CAM} Methods},
  year   = {2021},
  url    = {https://github.com/jacobgil/pytorch-grad-cam}
}
@misc{wightman2019timm,
  author = {Ross Wightman},
  title  = {{PyTorch} Image Models},
  year   = {2019},
  doi    = {10.5281/zenodo.4414861}
}
"""


ENTRY = re.compile(r"(@\w+\{(\w+),.*?\n\}\n)", re.DOTALL)
"""An entry of a bibliography, and its key."""


ASKED: Mapping[str, str] = {
    "shape_bias": (
        "Shape bias is the share of answers that follow shape among those that follow shape or texture, on cue-conflict stimuli "
        "[geirhos2019imagenet] shrunk to the training images' size, with answers among the categories that the data share with "
        "them."
    ),
    "reliance": (
        "Reliance is the share of its accuracy that a network keeps when one kind of information is taken from the test images."
    ),
    "attention": (
        "Where networks look is read off raw Grad-CAM maps [selvaraju2017grad; gildenblat2021pytorch]: lift is a map's share "
        "inside the object's outline less the outline's share of the image, specificity the lift less its mean over other "
        "images' outlines; the same networks with random weights are the control [adebayo2018sanity]."
    ),
    "composites": (
        "Whether errors go with looking away was asked on objects that were cut out and set on images of other classes, at "
        "equal confidence of right and wrong answers."
    ),
}
"""What a measure is, in the words of the paragraph."""


def references(outcomes: Outcomes, *, margin: float, asked: Sequence[str] = ()) -> str:
    """The entries of `BIBTEX` that the paragraph cites."""
    text, data = paragraph(outcomes, margin=margin, asked=asked), outcomes.study.data
    entries = ENTRY.findall(("" if data is None else _citation(data)) + BIBTEX)
    return "".join(entry for entry, key in entries if key in text)


def paragraph(outcomes: Outcomes, *, margin: float, asked: Sequence[str] = ()) -> str:
    """How the study was done and tested, in the words of a paper's methods section; keys in brackets are `BIBTEX`'s.

    What is not known of the study is not mentioned.

    Args: margin: of equivalence, 0 to 1. asked: names of the measures that were taken, as `ASKED` has them.
    """
    sentences = [
        _data(outcomes),
        _training(outcomes),
        _pairing(outcomes),
        _test(outcomes, margin),
        _screening(outcomes),
        _plan(outcomes),
        _class_questions(outcomes),
        *(ASKED[name] for name in asked),
        _hardware(outcomes),
    ]
    return " ".join(filter(None, sentences))


def _data(outcomes: Outcomes) -> str:
    data, split = outcomes.study.data, outcomes.study.split
    if outcomes.study.source:
        return _read(outcomes)
    if data is None or split is None:
        return f"Accuracies are those on {counted(len(outcomes.labels), 'test image')}."
    name = {
        "full": f"{data.name}{_source(data)}",
        "sample": f"a stratified sample of {data.name}{_source(data)}, not the full data set",
    }.get(data.source, f"images in {data.name}'s classes{_source(data)}")
    images = f"{split.train:,} training, {split.validation:,} validation and {split.test:,} test images"
    if data.is_documented:
        return (
            f"We used {name}: {images}, stratified by class and assigned by a hash of their pixels (fingerprint "
            f"{data.fingerprint})."
        )
    return (
        f"We used {name}: {images} of {len(data.classes):,} classes, stored at {data.image_size}x{data.image_size} pixels and "
        f"normalised by the training images' means and standard deviations; subsets, and parts that the data set does not come "
        f"with, were stratified by class and assigned by a hash of the images' content (fingerprint {data.fingerprint})."
    )


def _read(outcomes: Outcomes) -> str:
    """What results were read, where they are not this software's own."""
    metric = outcomes.metric
    what = (
        f"one number a run, {metric.name}{f' in {metric.unit}' if metric.unit else ''}, of which "
        f"{'less' if metric.lower_is_better else 'more'} is better"
        if outcomes.detail == "value"
        else f"predictions for {len(outcomes.labels):,} test images"
    )
    runs = outcomes.finished.groupby("arm")["seed"].size()
    least, most = int(runs.min()), int(runs.max())
    number = counted(most, "run") if least == most else f"{least} to {most} runs"
    study = outcomes.study
    of_file = f" ({study.fingerprint})" if study.fingerprint else ""
    return (
        f"Results were read from {study.source}{of_file}: {what}, of {counted(len(outcomes.arms), 'arm')} with {number} "
        "each. How and on what the networks were trained is not part of it, nor whether runs were added after results had been "
        "seen, which the tests would have to pay for."
    )


def _source(data: DataDescription) -> str:
    entry = ENTRY.match(_citation(data))
    return f" [{entry[2]}]" if entry else ""


def _citation(data: DataDescription) -> str:
    """Manifests of before do not say it."""
    return KRIZHEVSKY if data.is_documented else data.citation


def _training(outcomes: Outcomes) -> str:
    baseline = outcomes.baseline
    if not baseline.spec or not baseline.recipe:
        return ""
    of_other_code = any(arm.spec.get("factory") != baseline.spec.get("factory") for arm in outcomes.arms)
    others = f"{counted(len(outcomes.arms) - 1, 'further arm' if of_other_code else 'variant')}"
    return (
        f"The baseline ({_network(baseline.spec)}) and {others}{'' if of_other_code else ' of it'} were trained "
        f"{_beginning(outcomes.arms)}{_recipe(baseline.recipe)}{_of_grey(outcomes)}, unless the "
        f"{'arm' if of_other_code else 'variant'} changes it. "
        f"{_frozen(outcomes.arms)}"
        f"The last epoch's weights were evaluated once on the test images; no choice was made on them."
    )


def _beginning(arms: Sequence[StudiedArm]) -> str:
    """From what arms were trained. Of a function of the user's own it is known only where the study or an argument says it."""
    by_start: dict[str, list[str]] = {}
    for arm in arms:
        by_start.setdefault(_start(arm), []).append(arm.name)
    unknown, scratch = by_start.pop("?", []), by_start.pop("", [])
    if not by_start:
        return "" if unknown else "from scratch "
    parts = [f"{_names(names)} from {start}" for start, names in by_start.items()]
    if scratch:
        parts.append(f"{_names(scratch)} from scratch")
    return f"({'; '.join(parts)}) "


def _start(arm: StudiedArm) -> str:
    """What weights an arm starts from; empty: random ones, ?: not known."""
    if arm.start:
        normalised = arm.spec.get("normalisation")
        return f"the weights {arm.start}{', images normalised as they want it' if normalised else ''}"
    if loads_weights(arm.spec):
        return "pretrained weights"
    factory = str(arm.spec.get("factory", ""))
    return "?" if ":" in factory and not factory.startswith("torchvision.models:") else ""


def _names(names: Sequence[str]) -> str:
    *others, last = (f"“{name}”" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def _frozen(arms: Sequence[StudiedArm]) -> str:
    """Of which arms no more than the last layer was trained."""
    frozen = [arm.name for arm in arms if arm.recipe.get("freeze") == "backbone"]
    if not frozen:
        return ""
    return (
        f"Of {_names(frozen)} the last layer alone was trained; all before it was frozen in evaluation mode, so that batch "
        f"normalisation used the statistics it came with. "
    )


def _of_grey(outcomes: Outcomes) -> str:
    """Saturation is a matter of colour alone."""
    data, known = outcomes.study.data, _known(Recipe, outcomes.baseline.recipe or {})
    jitters = known is not None and known[0].augmentation.saturation
    return " (saturation changes nothing in images without colour)" if data and data.channels == 1 and jitters else ""


def in_short(arm: StudiedArm) -> str:
    """An arm's network and recipe in a phrase; empty where they are not known."""
    if not arm.spec or not arm.recipe:
        return ""
    return f"{_network(arm.spec)}; trained {_recipe(arm.recipe)}"


def _known(kind: type[SpecT], values: Mapping[str, Any]) -> tuple[SpecT, str] | None:
    """What a manifest says of a network or a recipe, as far as this version knows it, and the rest in words. None where it
    is nothing that this version could make.
    """
    try:
        known = kind.model_validate({name: value for name, value in values.items() if name in kind.model_fields})
    except ValidationError:
        return None
    return known, in_words({name: value for name, value in values.items() if name not in kind.model_fields})


INITIAL = {"torch_biases": "torch's default", "he": "He's", "glorot": "Glorot's"}


def _network(values: Mapping[str, Any]) -> str:
    if "factory" in values:
        arguments = in_words(values.get("arguments") or {})
        means = (values.get("normalisation") or {}).get("mean")
        normalised = f", normalised by the means {', '.join(f'{mean:.3g}' for mean in means)}" if means else ""
        at = f"images resized to {values.get('image_size')} pixels{normalised}"
        return f"{values['factory']}{' with ' if arguments else ''}{arguments}; {at}"
    known = _known(ConvNetSpec, values)
    if known is None:
        return in_words(values)
    spec, others = known
    convolutions = f"{spec.convs_per_block} convolutions each, " if spec.convs_per_block > 1 else ""
    norm = "batch normalisation" if spec.batch_norm else "no normalisation"
    links = "residual links, " if spec.residual else ""
    head = "flattened maps" if spec.head == "flatten" else f"maps averaged to {spec.pool_size}x{spec.pool_size}"
    hidden = f"a hidden layer of {spec.hidden_width}, " if spec.hidden_width else ""
    initial = "" if spec.initialisation == "torch" else f", {INITIAL[spec.initialisation]} initial weights"
    return (
        f"{counted(len(spec.widths), 'convolutional block')} of {', '.join(map(str, spec.widths))} channels, {convolutions}"
        f"{spec.kernel_size}x{spec.kernel_size} kernels, {norm}, {spec.activation}, {links}2x2 max pooling, {head}, {hidden}"
        f"dropout {spec.dropout:g}{initial}; images resized to {spec.image_size} pixels{'; ' if others else ''}{others}"
    )


def _recipe(values: Mapping[str, Any]) -> str:
    known = _known(Recipe, values)
    if known is None:
        return f"with {in_words(values)}"
    recipe, others = known
    schedule = "" if recipe.schedule == "none" else f", {recipe.schedule} schedule"
    warm_up = f" with {counted(recipe.warmup_epochs, 'epoch')} of warm-up" if recipe.warmup_epochs else ""
    of_head = f", {recipe.head_learning_rate:g} for the last layer" if recipe.head_learning_rate else ""
    smoothing = f", label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    images = f", on another draw of training images (split {recipe.split_seed})" if recipe.split_seed else ""
    labels = f", {recipe.random_labels:.0%} of the labels shuffled" if recipe.random_labels else ""
    compiled = ", compiled by torch.compile" if recipe.compile else ""
    return (
        f"for {counted(recipe.epochs, 'epoch')} with {recipe.optimizer} (learning rate {recipe.learning_rate:g}{of_head}"
        f"{schedule}{warm_up}, weight decay {recipe.weight_decay:g}, batch size {recipe.batch_size}{smoothing}, "
        f"{recipe.precision} arithmetic{compiled}{'; ' if others else ''}{others}) and {_augmentation(recipe.augmentation)}"
        f"{images}{labels}"
    )


def _augmentation(augmentation: Augmentation) -> str:
    parts = [
        f"horizontal flips (probability {augmentation.flip:g})" if augmentation.flip else "",
        f"rotation up to {augmentation.rotation:g} degrees" if augmentation.rotation else "",
        *(
            f"{name} within {getattr(augmentation, name):.0%}"
            for name in ("brightness", "contrast", "saturation")
            if getattr(augmentation, name)
        ),
    ]
    used = [part for part in parts if part]
    return f"augmentation by {', '.join(used)}" if used else "no augmentation"


def _pairing(outcomes: Outcomes) -> str:
    plan = outcomes.study.looks
    if outcomes.study.source:
        return ""
    seeds = f"the same {counted(len(outcomes.seeds), 'seed')}"
    if plan is not None and len(plan.seeds) > 1:
        seeds = f"the first {plan.seeds[0]} to {plan.seeds[-1]} of the same seeds"
    added = " Seeds were added after first results had been seen." if outcomes.looks > 1 else ""
    fields = sorted({field.replace("_", " ") for arm in outcomes.arms for field in arm.chosen})
    chosen = (
        f" For each arm, {' and '.join(fields)} was chosen once, by validation accuracy on one further seed: effects are those "
        "at the values so chosen, and what another choice would have moved is not in the intervals."
        if fields
        else ""
    )
    tuning = outcomes.study.tuning
    if tuning is not None:
        chosen = (
            f" In every arm and seed, the {tuning.words} was chosen by the validation accuracy of that seed's own networks, in "
            "place of what is named above: effects are those of arms that are tuned so, and what the choice owes to chance is "
            "part of the variance over seeds, as far as it comes from the seed and not from the validation images, which all "
            "share."
        )
    if not outcomes.baseline.spec:
        return f"Every arm was trained with {seeds}.{added}{chosen}"
    unpaired = [arm for arm in outcomes.arms if "factory" in arm.spec and arm.spec.get("initialise") != "by_name"]
    by_name = any(arm.spec.get("initialise") == "by_name" for arm in outcomes.arms)
    shared = (
        "data order and augmentation"
        if unpaired
        else "data order, augmentation and, where names and shapes agree, initial weights, which networks' own code lays out and "
        "which are drawn again by each parameter's name"
        if by_name
        else "data order, augmentation and, where shapes agree, initial weights"
    )
    return f"Every arm was trained with {seeds}; arms share a seed's {shared}.{added}{chosen}"


def _test(outcomes: Outcomes, margin: float) -> str:
    others = [arm.name for arm in outcomes.arms if not arm.is_baseline]
    runs = {name: len(own) for name, own in outcomes.predictions.items()}
    unpaired = [name for name in others if not outcomes.is_paired(name)]
    seeds = [
        min(runs[name], runs[outcomes.baseline.name]) if name in unpaired else len(outcomes.shared_seeds(name))
        for name in others
    ]
    tests = sum(count > 1 for count in seeds)
    if not any(seeds):
        return ""
    if not tests:
        return "With one seed, differences to the baseline are given without intervals."
    clusters = ""
    if outcomes.clusters is not None:
        count = len(np.unique(outcomes.clusters))
        clusters = (
            f" Test images that belong together are no independent draws: the {count:,} clusters are the unit, and intervals "
            "are for new clusters."
        )
    equivalent = (
        f"; an arm is called equivalent where two one-sided tests, adjusted likewise, find it within "
        f"{_margin(outcomes.metric, margin)}"
        if margin
        else ""
    )
    return (
        f"{_effects(outcomes, unpaired if len(unpaired) < len(others) else [])}{clusters} "
        f"P-values of the {counted(tests, 'comparison')} are adjusted by Holm's method [holm1979simple]"
        f"{_looked(outcomes)} and called significant below 0.05{equivalent}. All of it holds if "
        f"no seed behaves differently in kind: what befalls one seed in ten is not seen in three."
    )


def _margin(metric: Metric, margin: float) -> str:
    if not metric.is_share:
        return metric.amount(margin)
    return f"{100 * margin:g} percentage point{'' if margin == 0.01 else 's'}"


def _effects(outcomes: Outcomes, unpaired: Sequence[str]) -> str:
    """What an effect is, and what its interval carries.

    Args: unpaired: arms whose seeds do not pair with the baseline's, where others' do.
    """
    name = "top-1 test accuracy" if outcomes.metric is ACCURACY else outcomes.metric.name
    others = [arm.name for arm in outcomes.arms if not arm.is_baseline]
    paired = any(outcomes.is_paired(arm) for arm in others)
    by_image = outcomes.detail != "value"
    if paired:
        what = f"mean differences in {name} to the baseline, paired by seed{' and test image' if by_image else ''}"
    else:
        what = f"differences in mean {name} to the baseline over independent runs{', paired by test image' if by_image else ''}"
    level = "each of the level of the test behind the arm's verdict"
    degrees = "" if paired else ", with Welch's degrees of freedom for the runs [welch1947generalization]"
    if by_image:
        how = (
            f"intervals for new seeds and new test images, {level}: the variance is that of a two-way random-effects model over "
            f"seeds and images [searle1992variance]{degrees}, the quantile Cochran's weighted one [cochran1964approximate]"
        )
    else:
        test = "paired t intervals" if paired else "Welch's t intervals [welch1947generalization]"
        how = f"{test} for new seeds on the same test set, {level}"
    apart = (
        f" Runs of {', '.join(map(quoted, unpaired))} do not pair with the baseline's by seed: there, effects are differences "
        "of means over independent runs, with Welch's degrees of freedom [welch1947generalization]."
        if unpaired
        else ""
    )
    return f"Effects are {what}, with {how}.{apart}"


def _screening(outcomes: Outcomes) -> str:
    """How main effects come from the runs of a design; nothing where there is none."""
    design = outcomes.study.screening
    if design is None:
        return ""
    regular = len(design.runs) // 2 in (2, 4, 8, 16)
    kind = "fractional factorial design" if regular else "Plackett-Burman design [plackett1946design]"
    if len(design.runs) == 2 ** len(design.factors):
        kind = "full factorial design"
    return (
        f"The arms are the {len(design.runs)} runs of a folded-over {kind} of {len(design.factors)} factors with two levels "
        f"[box1951experimental]. A factor's main effect is the mean difference between the runs at its two levels, averaged over "
        f"all other factors and clear of interactions of two of them; it is tested like a difference to the baseline, with "
        f"Holm's method over the {len(design.factors)} main effects. Variances over seeds were moderated by those of all effects "
        f"of the design [smyth2004linear], with at most four prior degrees of freedom; an effect that varied more than the "
        f"others let expect kept its own."
    )


def _looked(outcomes: Outcomes) -> str:
    if outcomes.study.looks is not None and len(outcomes.study.looks.seeds) > 1:
        return " and for the planned looks, whose levels add up to 5 % [kim1987design; glimm2010hierarchical],"
    return "" if outcomes.looks == 1 else f", counted {outcomes.looks} times for as many looks at results,"


def _plan(outcomes: Outcomes) -> str:
    """How arms were stopped, and what their variances borrow; nothing where neither was planned."""
    plan = outcomes.study.looks
    if plan is None:
        return ""
    borrowed = (
        "Each arm's variance over seeds was moderated by those of the other arms [smyth2004linear], with at most four prior "
        "degrees of freedom, as decided beforehand."
        if plan.variance == "moderated"
        else ""
    )
    if len(plan.seeds) < 2:
        return borrowed
    *others, last = map(str, plan.seeds)
    levels = ", ".join(f"{100 * level:.2g}" for level in plan.levels)
    return (
        f"The study was planned to be looked at after {', '.join(others)} and {last} seeds, at which tests may err in "
        f"{levels} %; after each look, arms that differed from the baseline or were equivalent to it stopped, and so did those "
        f"that the looks to come would have settled with a chance below {100 * UNLIKELY:g} %. Intervals have the level of the "
        f"look at which an arm stopped. {borrowed}"
    ).rstrip()


def _class_questions(outcomes: Outcomes) -> str:
    """Which classes were asked about, and when."""
    asked = outcomes.study.class_questions
    before = [question.name for question in asked if question.finished_before == 0]
    later = [question.name for question in asked if question.finished_before]
    sentences = [
        f"The recall of {' and '.join(before)} was asked about before any arm was trained; {_by_itself(before)}."
        if before
        else "",
        f"The recall of {' and '.join(later)} was asked about when results could be seen, which explores and does not confirm; "
        f"{_by_itself(later)}."
        if later
        else "",
    ]
    return " ".join(filter(None, sentences))


def _by_itself(names: Sequence[str]) -> str:
    return f"{'its' if len(names) == 1 else 'their'} p-values are adjusted for the number of arms alone"


def _hardware(outcomes: Outcomes) -> str:
    done = outcomes.finished.dropna(subset=["device", "versions"])
    if outcomes.finished.empty:
        return "No trial has finished yet."
    if done.empty:
        return ""
    devices = " and ".join(sorted(set(done["device"])))
    at_once = done["trials_at_once"].max()
    side_by_side = f", {at_once} at a time" if not pd.isna(at_once) and at_once > 1 else ""
    gpu_hours = (done["seconds"] * done["gpu_share"]).sum() / 3600
    gpu = f", {gpu_hours:.{2 if gpu_hours < 10 else 4}g} GPU-hours" if gpu_hours else ""
    versions = dict(part.rpartition(" ")[::2] for part in str(done["versions"].iloc[0]).split(", "))
    return (
        f"The {counted(len(done), 'trial')} ran on {devices}{side_by_side}, and took {duration(done['seconds'].sum())} of "
        f"training and evaluation in all{gpu}, with PyTorch {versions.get('torch', '')} [paszke2019pytorch], timm "
        f"{versions.get('timm', '')} [wightman2019timm] and Ray Tune {versions.get('ray', '')} [liaw2018tune], run by "
        f"ablations {versions.get('ablations', version('ablations'))}."
    )
