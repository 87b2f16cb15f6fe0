"""Grids: plain functions from a baseline arm to the arms of an ablation (or a `Layout` of them), found by name in `GRIDS`.

A grid's docstring says, in this order: the question in one line; what else moves with the factor; how to read the result.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ablations.arm import Arm, alike
from ablations.fields import arm_with
from ablations.parts import field_of, fields_of, switches
from ablations.screens import Layout, TwoLevelFactor, is_as, screened
from ablations.transfer import transfer_of
from cnnkit.errors import UserError
from cnnkit.recipe import NO_AUGMENTATION, Augmentation
from cnnkit.spec import ModuleSpec

Grid = Callable[[Arm], list[Arm] | Layout]

WIDEST = 512  # channels; doubling stops here


def doubling(first: int, blocks: int) -> tuple[int, ...]:
    """Widths that double from `first`, one per block, capped at `WIDEST` (or at `first`, where that is wider)."""
    return tuple(min(first * 2**block, max(WIDEST, first)) for block in range(blocks))


def scaled(widths: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Every width times `factor`, at least 1."""
    return tuple(max(1, round(factor * channels)) for channels in widths)


def depth(baseline: Arm) -> list[Arm]:
    """How many blocks does the network need? 2 to 6 blocks, widths doubling from the first and capped at 512.

    What else moves: the flattened head shrinks by half to three quarters with every block, so at 224 pixels two
    blocks carry 103 M parameters in the head and six carry 2 M; the receptive field doubles; multiply-adds grow.
    How to read it: an effect of depth as practitioners meet it, head included, at a fixed number of epochs; it does
    not separate depth from parameters or from speed of convergence.
    """
    first = baseline.convnet.widths[0]
    return [
        baseline.variant(f"{blocks} blocks", {"blocks": blocks}, widths=doubling(first, blocks))
        for blocks in (2, 3, 4, 5, 6)
    ]


def documented(baseline: Arm) -> list[Arm]:
    """What does the baseline reach, over several seeds? The baseline alone.

    What else moves: nothing; there is nothing to compare with.
    How to read it: a distribution over seeds, beside which a result of one run can be put (`experiments/reproduce_baseline.py`).
    """
    return [baseline]


def depth_matched(baseline: Arm) -> list[Arm]:
    """How many blocks, with the head's and the last layer's size held still? Global average pooling, last width 256.

    What else moves: the parameters of the body, multiply-adds and the receptive field. The head has the same parameters
    in every arm but the baseline, which keeps its flattened head and stands beside its pooled twin of four blocks.
    How to read it: compare the pooled arms with each other; if depth helps in `depth` but not here, the head
    did it. A pooled arm against the baseline mixes depth with the change of head.
    """

    def widths(blocks: int) -> tuple[int, ...]:
        first = baseline.convnet.widths[0]
        return (*(min(width, 256) for width in doubling(first, blocks - 1)), 256)

    return [
        baseline.variant(f"{blocks} blocks, pooled", {"blocks": blocks}, widths=widths(blocks), head="pool")
        for blocks in (2, 3, 4, 5, 6)
    ]


def width(baseline: Arm) -> list[Arm]:
    """How wide must the blocks be? Every width times a quarter, a half, 1 and 2.

    What else moves: parameters and multiply-adds of the body grow with the square, the head's with the factor.
    How to read it: an effect of capacity; compare with `depth` at equal multiply-adds before calling it an effect of width.
    """
    return [
        baseline.variant(
            f"width x {factor:g}",
            {"width": factor},
            widths=scaled(baseline.convnet.widths, factor),
        )
        for factor in (0.25, 0.5, 1.0, 2.0)
    ]


def batch_norm(baseline: Arm) -> list[Arm]:
    """Does batch normalisation matter? With it, and with a bias in its place.

    What else moves: a scale and a shift per channel go, a bias per channel comes.
    How to read it: at one learning rate and few epochs it is mostly an effect on the speed of learning; see
    `learning_rate`, or choose the rate for each arm with --tune.
    """
    return [
        baseline.variant(
            "batch norm" if on else "no batch norm", {"batch norm": on}, **fields_of(baseline, batch_norm=on)
        )
        for on in (True, False)
    ]


def dropout(baseline: Arm) -> list[Arm]:
    """How much dropout before the last layer? None, 0.25, 0.5 and 0.75.

    What else moves: nothing; parameters and multiply-adds stay.
    How to read it: dropout pays late, when a network overfits; after few epochs expect it to cost accuracy.
    """
    return [
        baseline.variant(f"dropout {p:g}", {"dropout": p}, **fields_of(baseline, dropout=p))
        for p in (0.0, 0.25, 0.5, 0.75)
    ]


def residual(baseline: Arm) -> list[Arm]:
    """Do residual links matter? Two convolutions a block, with and without a link around them.

    What else moves: the 1x1 projections add a few per cent of parameters. The baseline has one convolution a block, over which
    a 1x1 skip adds next to nothing, so the plain twin with two convolutions is what the linked arm belongs beside.
    How to read it: the effect of the link is the difference between the two arms with two convolutions; each against
    the baseline contains the effect of the second convolution.
    """
    return [
        baseline,
        *(
            baseline.variant(
                f"2 convolutions{', residual' if on else ''}", {"residual": on}, convs_per_block=2, residual=on
            )
            for on in (False, True)
        ),
    ]


def convs_per_block(baseline: Arm) -> list[Arm]:
    """How many convolutions between two poolings? 1, 2 and 3.

    What else moves: parameters and multiply-adds of the body grow two- and threefold, and so does the receptive field.
    How to read it: depth without a smaller last map; the head stays as it is, unlike in `depth`.
    """
    return [
        baseline.variant(f"{n} convolution{'s'[: n > 1]} a block", {"convolutions": n}, convs_per_block=n)
        for n in (1, 2, 3)
    ]


def depth_residual(baseline: Arm) -> list[Arm]:
    """Do residual links help more in deeper networks? 2, 4 and 6 blocks of two convolutions, with and without links.

    What else moves: with the blocks, the head, the receptive field and multiply-adds, as in `depth`; with the links, 1x1
    projections.
    How to read it: the interaction answers the question; the main effects are those of `depth` and `residual`. The
    baseline, with one convolution a block, stands beside the design.
    """
    first = baseline.convnet.widths[0]
    return [
        baseline,
        *(
            baseline.variant(
                f"{blocks} blocks, {'residual' if on else 'plain'}",
                {"blocks": blocks, "residual": on},
                widths=doubling(first, blocks),
                convs_per_block=2,
                residual=on,
            )
            for blocks in (2, 4, 6)
            for on in (False, True)
        ),
    ]


def depth_dropout(baseline: Arm) -> list[Arm]:
    """Do deeper networks need dropout more? 2, 4 and 6 blocks, with dropout 0.5 and without.

    What else moves: with the blocks, the head, the receptive field and multiply-adds, as in `depth`.
    How to read it: the interaction answers the question. Two blocks have by far the largest head, on which dropout acts.
    """
    first = baseline.convnet.widths[0]
    return [
        baseline.variant(
            f"{blocks} blocks, dropout {p:g}",
            {"blocks": blocks, "dropout": p},
            widths=doubling(first, blocks),
            dropout=p,
        )
        for blocks in (2, 4, 6)
        for p in (baseline.convnet.dropout or 0.5, 0.0)
    ]


def batch_norm_dropout(baseline: Arm) -> list[Arm]:
    """Do batch normalisation and dropout replace one another? Each on and off.

    What else moves: next to nothing; see `batch_norm` and `dropout`.
    How to read it: an interaction of opposite sign to the main effects says that one does part of the other's work.
    """
    return [
        baseline.variant(
            f"{'batch norm' if norm else 'no batch norm'}, dropout {p:g}",
            {"batch norm": norm, "dropout": p},
            **fields_of(baseline, batch_norm=norm, dropout=p),
        )
        for norm in (True, False)
        for p in (baseline.value(field_of(baseline, "dropout")) or 0.5, 0.0)
    ]


def regularisation(baseline: Arm) -> list[Arm]:
    """Which regulariser matters, and do they add up? Batch norm, dropout and weight decay, each on and off.

    What else moves: next to nothing; eight arms are a full factorial design.
    How to read it: main effects average over the other two factors. Weight decay of 1e-4 in Adam's gradient is weak.
    """
    decay = baseline.recipe.weight_decay or 1e-4
    return [
        baseline.variant(
            " + ".join(name for name, used in (("batch norm", norm), ("dropout", p), ("weight decay", wd)) if used)
            or "none",
            {"batch norm": norm, "dropout": p, "weight decay": wd},
            recipe={"weight_decay": wd},
            **fields_of(baseline, batch_norm=norm, dropout=p),
        )
        for norm in (True, False)
        for p in (baseline.value(field_of(baseline, "dropout")) or 0.5, 0.0)
        for wd in (decay, 0.0)
    ]


def parts_of(baseline: Arm) -> tuple[list[TwoLevelFactor], list[str]]:
    """What can be taken from the baseline, with the fields that do it; and a sentence on each part that it does not have."""
    named: list[tuple[str, str, dict[str, Any]]]
    of_recipe: list[tuple[str, str, dict[str, Any]]] = [
        ("weight decay", "decay", {"recipe.weight_decay": 0.0}),
        ("augmentation", "augment", {"recipe.augmentation": NO_AUGMENTATION.model_dump()}),
    ]
    if isinstance(baseline.spec, ModuleSpec):
        named = [*((name, name, without) for name, without in switches(baseline).items()), *of_recipe]
    else:
        widths = baseline.convnet.widths
        named = [
            ("batch norm", "norm", {"batch_norm": False}),
            ("dropout", "dropout", {"dropout": 0.0}),
            *of_recipe,
            ("hidden layer", "hidden", {"hidden_width": 0}),
            ("last block", "block", {"widths": widths[:-1] or widths}),
        ]
    parts = [TwoLevelFactor(name, {True: {}, False: without}, short) for name, short, without in named]
    there = [part for part in parts if not is_as(baseline, part.levels[False])]
    missing = [part.name for part in parts if part not in there]
    lacks = {"last block": "no block but one"}
    return there, [
        f"The baseline has {lacks.get(name, f'no {name}')}, so that is not among its parts." for name in missing
    ]


def leave_one_out(baseline: Arm) -> Layout:
    """Which part of the baseline matters most? Each of its parts taken away in turn.

    What else moves: without the hidden layer most parameters go; without the last block the map and the head grow.
    How to read it: what a part adds to all the others, not what it would add alone. Parts that do each other's work
    both look dispensable; `regularisation` and `screen` tell them apart.
    """
    parts, notes = parts_of(baseline)
    if not parts:
        raise UserError("the baseline has none of the parts that leave_one_out takes away")
    return Layout(
        [
            baseline,
            *(arm_with(baseline, f"no {part.name}", {"left out": part.name}, part.levels[False]) for part in parts),
        ],
        notes=tuple(notes),
    )


def screen(baseline: Arm) -> Layout:
    """Which parts matter, on average over the others being there or not? All of them at once, in a few runs.

    The parts are those of `leave_one_out`, and the head; seven of them take 16 runs.
    What else moves: every run changes about half of the parts, so that runs differ in cost by far more than in any other
    grid; a part's effect compares eight runs with the eight others, in which all other parts are equally often there.
    How to read it: main effects are averages over the other parts, `leave_one_out` has the effects in the full network;
    where parts do each other's work, the two differ and interactions say so. For the same number of cells, effects have a
    fourth of the variance. A single run against the baseline answers no question here.
    """
    parts, notes = parts_of(baseline)
    pooled = TwoLevelFactor("pooled head", {False: {}, True: {"head": "pool"}}, "pooled")
    if isinstance(baseline.spec, ModuleSpec):
        return screened(baseline, parts, notes)
    if is_as(baseline, pooled.levels[True]):
        notes.append("The baseline has a pooled head already, so that is not among the parts.")
    else:
        parts.append(pooled)
    return screened(baseline, parts, notes)


def learning_rate(baseline: Arm) -> list[Arm]:
    """Is the learning rate well chosen? A third, 1, 3 and 10 times the baseline's.

    What else moves: nothing.
    How to read it: how much of any other effect a better rate could explain. Rates compared on the test set are not
    thereby chosen on it: choose by the validation accuracy.
    """
    rate = baseline.recipe.learning_rate
    return [
        baseline.variant(f"learning rate {r:.2g}", {"learning rate": r}, recipe={"learning_rate": r})
        for r in (float(f"{rate * factor:.2g}") for factor in (1 / 3, 1, 3, 10))
    ]


def epochs(baseline: Arm) -> list[Arm]:
    """Has the baseline been trained long enough? Half, 1, 2 and 4 times its epochs.

    What else moves: the training time.
    How to read it: if accuracy still climbs, differences between architectures at this budget are partly
    differences in the speed of learning.
    """
    budget = baseline.recipe.epochs
    return [
        baseline.variant(f"{n} epoch{'s'[: n > 1]}", {"epochs": n}, recipe={"epochs": n})
        for n in (max(1, budget // 2), budget, 2 * budget, 4 * budget)
    ]


def head(baseline: Arm) -> list[Arm]:
    """What should the classifier see? Every position or averages over a grid, with and without the hidden layer.

    What else moves: nearly all parameters of the baseline sit in its flattened head; pooling to one position
    takes away all but a few per cent of them.
    How to read it: an arm that keeps its accuracy with a pooled head did not need those parameters, nor positions.
    """
    return [
        baseline,
        baseline.variant("flatten, no hidden layer", {"head": "flatten", "hidden": 0}, hidden_width=0),
        baseline.variant("pool to 2x2", {"head": "pool 2x2", "hidden": 1}, head="pool", pool_size=2),
        baseline.variant("global pooling", {"head": "pool 1x1", "hidden": 1}, head="pool"),
        baseline.variant(
            "global pooling, no hidden layer", {"head": "pool 1x1", "hidden": 0}, head="pool", hidden_width=0
        ),
    ]


def precision(baseline: Arm) -> list[Arm]:
    """Does bf16 instead of fp32 cost accuracy? Both, all else alike.

    What else moves: the time and memory of a training step.
    How to read it: a difference is that of the arithmetic at this budget. Where a device has no native bf16, cells that ask
    for it are trained in another arithmetic, and their records say so.
    """
    return [baseline.variant(name, {"precision": name}, recipe={"precision": name}) for name in ("fp32", "bf16")]


def undocumented(baseline: Arm) -> list[Arm]:
    """How far does it reach what the documented study leaves open? Widths, head, dropout, augmentation, and others.

    What else moves: with the widths, kernel and head, parameters and multiply-adds; otherwise nothing. The document says
    that there are four blocks, a hidden layer, dropout and an augmentation, and not how wide, how much or which.
    How to read it: each arm is another reading of the same document, so that their range is how far its silence reaches, one
    choice at a time; choices together can reach further. An arm with other images differs from the baseline by the
    luck of the draw: with a part of the training images, as at `quick`, by more than with all of them.
    """
    flip = NO_AUGMENTATION.vary(flip=0.5)
    strong = Augmentation(rotation=20, brightness=0.4, contrast=0.4, saturation=0.4)
    other = {"torch_biases": "torch's, biases too", "he": "He's"}
    arithmetic = "fp32" if baseline.recipe.precision == "bf16" else "bf16"

    def silence(name: str, about: str, *, recipe: dict[str, Any] | None = None, **spec: Any) -> Arm:
        return baseline.variant(name, {"left open": about}, recipe=recipe, **spec)

    return [
        baseline,
        *(
            silence(f"widths x {factor:g}", "widths", widths=scaled(baseline.convnet.widths, factor))
            for factor in (0.5, 2.0)
        ),
        silence("kernel 5x5", "kernel", kernel_size=5),
        *(silence(f"hidden width {n}", "hidden width", hidden_width=n) for n in (128, 1024)),
        silence("global pooling", "head", head="pool"),
        *(silence(f"dropout {p:g}", "dropout", dropout=p) for p in (0.25, 0.75)),
        silence("no augmentation", "augmentation", recipe={"augmentation": NO_AUGMENTATION}),
        silence("flip alone", "augmentation", recipe={"augmentation": flip}),
        silence("stronger augmentation", "augmentation", recipe={"augmentation": strong}),
        *(silence(f"initial weights: {other[how]}", "initial weights", initialisation=how) for how in other),
        silence("other images", "split", recipe={"split_seed": 1}),
        silence(f"in {arithmetic}", "arithmetic", recipe={"precision": arithmetic}),
    ]


def documented_claims(baseline: Arm) -> list[Arm]:
    """Do the documented study's claims about its parts hold? Batch norm, dropout, depth, epochs, and random labels, in one grid.

    What else moves: with the blocks, parameters, head and receptive field, as in `depth`.
    How to read it: each claim compares two arms, or the differences of two pairs (`analysis/claim_rules.py` has the rules).
    Random labels are a control: what a network then knows of its training images is memorised. Of residual links, see `residual`.
    """
    first, blocks = baseline.convnet.widths[0], len(baseline.convnet.widths) + 2
    deeper: dict[str, Any] = {"widths": doubling(first, blocks)}
    longer = 2 * baseline.recipe.epochs

    def arm(name: str, *, recipe: dict[str, Any] | None = None, **spec: Any) -> Arm:
        return baseline.variant(name, {"arm": name}, recipe=recipe, **spec)

    return [
        baseline,
        arm("no dropout", dropout=0.0),
        arm("no batch norm", batch_norm=False),
        arm("random labels", recipe={"random_labels": 1.0}),
        arm(f"{longer} epochs", recipe={"epochs": longer}),
        arm(f"{blocks} blocks", **deeper),
        arm(f"{blocks} blocks, no dropout", **deeper, dropout=0.0),
    ]


GRIDS: dict[str, Grid] = {
    grid.__name__: grid
    for grid in (
        documented, depth, depth_matched, width, batch_norm, dropout, residual, convs_per_block, head, leave_one_out,
        screen, learning_rate, epochs, depth_residual, depth_dropout, batch_norm_dropout, regularisation, precision,
        undocumented, documented_claims, transfer_of(),
    )
}  # fmt: skip
"""Every grid by its name. To add one, write a function like those above and name it here."""


def layout_of(grid: Grid, baseline: Arm) -> Layout:
    """What `grid` lays out, the baseline among its arms: put first where the grid does not contain it itself.

    Raises: ValueError: two arms are the same or share a name. ValidationError: an arm cannot be built.
    """
    made = grid(baseline)
    layout = made if isinstance(made, Layout) else Layout(made)
    arms = layout.arms
    if not any(arm.is_baseline for arm in arms):
        arms = [baseline, *arms]
    names: dict[str, str] = {}
    for place, arm in enumerate(arms):
        if alike(arm.name) in names:
            raise ValueError(_same_name(names[alike(arm.name)], arm.name))
        names[alike(arm.name)] = arm.name
        for other in arms[:place]:
            if (arm.spec, arm.recipe) == (other.spec, other.recipe):
                raise ValueError(f"the arms {other.name!r} and {arm.name!r} are the same network and recipe")
    marked = [arm.name for arm in arms if arm.is_baseline]
    if len(marked) > 1:
        raise ValueError(f"{marked[0]!r} and {marked[1]!r} are both marked as the baseline")
    return replace(layout, arms=arms)


def arms_of(grid: Grid, baseline: Arm) -> list[Arm]:
    """The arms of `layout_of`. Raises: as it does."""
    return layout_of(grid, baseline).arms


def _same_name(one: str, other: str) -> str:
    if one == other:
        return f"two arms are called {one!r}"
    return f"the arms {one!r} and {other!r} differ in blanks, case or forms of letters only; rename one"
