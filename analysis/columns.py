"""Which column of a stranger's table is what: as the caller says, else by the names that people usually give.

A guess is made where a usual name leaves one choice, and is told (`Columns.words`); where there are several, or none, the
caller is asked.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Literal, TypedDict

from cnnkit.errors import UserError

Role = Literal["arm", "seed", "image", "label", "prediction", "correct", "value", "group", "step", "status", "tag"]


class Given(TypedDict, total=False):
    """Names of columns, as keyword arguments. Those that are left out are guessed."""

    arm: str | Sequence[str]
    """What is compared; of several columns, each combination of values is an arm."""
    seed: str
    """Which runs of two arms belong together."""
    image: str
    """Which test image a prediction is about: a number or a name."""
    label: str
    """The image's class, by number or name."""
    prediction: str
    """The class that the network answers."""
    correct: str
    """Whether it is right, where its answer is not known: true or false, 1 or 0."""
    value: str
    """The metric of a run."""
    group: str
    """Test images that belong together, such as the video that a frame is from."""
    step: str
    """Of a table with several rows a run: the last counts."""
    status: str
    """Whether a run has finished."""
    tag: str
    """Of a table with a row for each of several metrics: which metric a row has."""


USUAL: dict[Role, tuple[str, ...]] = {
    "arm": (
        *("arm", "variant", "model", "model_name", "method", "architecture", "arch", "network", "net", "config"),
        *("configuration", "condition", "treatment", "algorithm", "algo", "system", "setting", "experiment"),
        "experiment_name",
    ),
    "seed": ("seed", "random_seed", "rng_seed", "manual_seed", "random_state", "replicate", "repetition", "rep"),
    "image": (
        *("image", "image_id", "image_index", "image_idx", "image_name", "image_path", "img", "img_id", "sample"),
        *("sample_id", "sample_index", "sample_idx", "example", "example_id", "index", "idx", "file", "filename"),
        *("file_name", "path", "id"),
    ),
    "label": (
        *("label", "labels", "target", "targets", "y_true", "true_label", "true_class", "ground_truth", "gt"),
        *("gt_label", "true", "truth", "actual", "class", "y"),
    ),
    "prediction": (
        *("prediction", "predictions", "predicted", "pred", "preds", "y_pred", "y_hat", "yhat", "predicted_label"),
        *("predicted_class", "pred_label", "pred_class", "answer"),
    ),
    "correct": ("correct", "is_correct", "right", "is_right", "hit"),
    "value": ("value", "score", "result", "metric"),
    "group": (
        *("cluster", "clusters", "image_group", "patient", "patient_id", "video", "video_id", "slide", "slide_id"),
        *("scene", "scene_id", "sequence", "sequence_id"),
    ),
    "step": ("step", "global_step", "epoch", "iteration", "iter"),
    "status": ("state", "status"),
    "tag": ("tag", "metric_name", "metric", "variable"),
}  # fmt: skip
"""Usual names, as `normal` writes them, the likelier first."""
RUNS = ("run", "run_name", "name", "mlflow_runname", "runname", "trial")
"""Names that may be an arm's where they repeat, a seed's where they are numbers, or both in one text."""
METRICS = {
    *("acc", "accuracy", "top1", "top5", "acc1", "acc5", "loss", "error", "err", "f1", "auc", "auroc", "map", "miou", "iou"),
    *("precision", "recall", "kappa", "mcc", "bleu", "rouge", "perplexity", "ppl", "nll", "mse", "rmse", "mae", "wer"),
    *("cer", "fid", "psnr", "ssim", "ece", "brier", "r2", "reward", "return", "seconds", "latency", "throughput"),
}  # fmt: skip
"""Words by which a column's name tells that it holds a metric."""
ACCURACIES = {"acc", "accuracy", "top1", "top5", "acc1", "acc5"}
LOWER_IS_BETTER = {
    *("loss", "error", "err", "perplexity", "ppl", "nll", "mse", "rmse", "mae", "wer", "cer", "fid", "ece", "brier"),
    *("seconds", "latency"),
}  # fmt: skip
PREFIX = re.compile(
    r"^(params|param|metrics|metric|config|summary|tags|hparams|hparam|attributes)[./](?=.)", re.IGNORECASE
)
"""By which tools tell settings from results."""


def normal(name: str) -> str:
    """Lower case, without a tool's prefix, words joined by _: `metrics.Test Acc` is test_acc."""
    plain = PREFIX.sub("", name.strip())
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain)
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def words(name: str) -> set[str]:
    """Of a name; `top-1` and `acc@5` are top1 and acc5."""
    return set(re.sub(r"_(?=\d)", "", normal(name)).split("_"))


@dataclass(frozen=True)
class Columns:
    """The column of each role that a table has."""

    arm: tuple[str, ...] = ()
    seed: str | None = None
    image: str | None = None
    label: str | None = None
    prediction: str | None = None
    correct: str | None = None
    value: str | None = None
    group: str | None = None
    step: str | None = None
    status: str | None = None
    tag: str | None = None
    guessed: frozenset[str] = field(default_factory=frozenset)
    """Roles that nobody named."""

    @property
    def names(self) -> list[str]:
        """All that are used, each once."""
        values = [getattr(self, each.name) for each in fields(self) if each.name not in ("arm", "guessed")]
        return list(dict.fromkeys([*self.arm, *(name for name in values if name is not None)]))

    @property
    def words(self) -> str:
        """Such as: arm = model; guessed by their names: seed, label = y."""
        parts: dict[bool, list[str]] = {False: [], True: []}
        for each in fields(self):
            found = getattr(self, each.name)
            if each.name == "guessed" or not found:
                continue
            name = " + ".join(found) if isinstance(found, tuple) else found
            parts[each.name in self.guessed].append(each.name if each.name == name else f"{each.name} = {name}")
        guessed = f"guessed by their names: {', '.join(parts[True])}" if parts[True] else ""
        return "; ".join(filter(None, (", ".join(parts[False]), guessed)))


def could_be_used(names: Iterable[str], given: Given) -> list[str]:
    """Columns that have a role, or may have one: a wide table need not be read whole."""
    asked = {name for value in given.values() for name in ([value] if isinstance(value, str) else list(value))}  # type: ignore[call-overload]
    usual = {name for names_of_role in USUAL.values() for name in names_of_role} | {*RUNS}
    return [name for name in names if name in asked or normal(name) in usual or words(name) & METRICS]


@dataclass(frozen=True)
class Content:
    """What a column holds, as far as its role depends on it."""

    numbers: bool
    """Whether all that it has are numbers."""
    repeats: bool
    """Whether it has a value twice."""
    names_seeds: bool
    """Whether it has texts that all end in a seed, such as plain-seed-3."""


def find(names: Sequence[str], given: Given, *, source: str, content: Callable[[str], Content]) -> Columns:
    """The columns of each role.

    Args: names: the table's columns. source: what the table is called. content: of a column.
    Raises: UserError: a column that was named is not there, or is there twice; no or several columns may be what is needed.
    """
    return _Search(names, given, source, content).columns()


@dataclass(frozen=True)
class _Search:
    names: Sequence[str]
    given: Given
    source: str
    content: Callable[[str], Content]

    def columns(self) -> Columns:
        named = self._named()
        found: dict[str, str | tuple[str, ...]] = dict(named)
        taken = {name for value in named.values() for name in _listed(value)}
        free = [name for name in self.names if name not in taken]

        def guess(*roles: Role) -> None:
            for role in roles:
                name = None if role in found else self._usual(role, free)
                if name is not None:
                    found[role] = name
                    free.remove(name)

        if "value" not in found:
            guess("prediction", "correct")
        guess("seed", "arm")
        if "prediction" in found or "correct" in found:
            guess("label", "image", "group")
        else:
            guess("step", "status")
            if normal(str(found.get("value", "value"))) in USUAL["value"]:  # else the column is one metric's own
                guess("tag")
            self._value(found, free)
        self._runs(found, free)
        if "arm" not in found:
            raise UserError(f"{self.source}: which column says what is compared? Give --arm-column; {self._has()}")
        if "prediction" in found and "label" not in found:
            raise UserError(
                f"{self.source}: predictions need their images' classes; give --label-column; {self._has()}"
            )
        for name in dict.fromkeys(name for value in found.values() for name in _listed(value)):
            if self.names.count(name) > 1:
                raise UserError(f"{self.source} has two columns {name!r}; rename one of them")
        guessed = frozenset(found.keys() - named.keys())
        arm = _listed(found.pop("arm"))
        return Columns(arm=arm, **{role: str(name) for role, name in found.items()}, guessed=guessed)

    def _named(self) -> dict[str, str | tuple[str, ...]]:
        named: dict[str, str | tuple[str, ...]] = {}
        for role, value in self.given.items():
            if not value:
                continue
            columns = _listed(value)  # type: ignore[arg-type]
            for name in columns:
                if name not in self.names:
                    near = get_close_matches(name, self.names, n=1, cutoff=0.6)
                    hint = f"did you mean {near[0]!r}?" if near else self._has()
                    raise UserError(f"{self.source} has no column {name!r}: {hint}")
            named[role] = columns if role == "arm" else columns[0]
        return named

    def _usual(self, role: Role, free: Sequence[str]) -> str | None:
        """The column whose name is the likeliest; None where there is none."""
        for usual in USUAL[role]:
            alike = [name for name in free if normal(name) == usual]
            if role == "tag":
                alike = [name for name in alike if not self.content(name).numbers]
            if len({*alike}) > 1:
                raise UserError(f"{self.source}: which column is the {role}, {_or(alike)}? Give --{role}-column")
            if alike:
                return alike[0]
        return None

    def _value(self, found: dict[str, str | tuple[str, ...]], free: list[str]) -> None:
        """The metric: of several, that on test images, if there is one."""
        if "value" in found:
            return
        numbers = [name for name in dict.fromkeys(free) if self.content(name).numbers]
        usual = [name for name in numbers if normal(name) in USUAL["value"]]
        likely = [name for name in numbers if words(name) & METRICS]
        on_test = [name for name in likely if "test" in words(name)]
        choice = usual if "tag" in found and usual else on_test or [*usual, *likely]
        if len(choice) != 1:
            what = (
                f"which column is the metric, {_or(choice)}?"
                if choice
                else "which column is the metric, or the prediction?"
            )
            raise UserError(f"{self.source}: {what} Give --value-column; {self._has()}")
        found["value"] = choice[0]
        free.remove(choice[0])

    def _runs(self, found: dict[str, str | tuple[str, ...]], free: list[str]) -> None:
        """What a run's name or number is, where arm or seed are still to be found."""
        runs = [name for usual in RUNS for name in dict.fromkeys(free) if normal(name) == usual]
        for name in runs:
            content = self.content(name)
            if "seed" not in found and "arm" in found and content.numbers:
                found["seed"] = name
            elif "arm" not in found and not content.numbers and (content.repeats or content.names_seeds):
                found["arm"] = name

    def _has(self) -> str:
        shown = ", ".join(self.names[:12])
        return f"it has {shown}{' and more' if len(self.names) > 12 else ''}"


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _or(names: Sequence[str]) -> str:
    return " or ".join(dict.fromkeys(map(repr, names)))
