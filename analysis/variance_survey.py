"""How alike the variances of arms really are: what moderated variances (`analysis.moderation`) take on trust.

Over all arms of the studies of one protocol and data set, s_j^2 is the variance of one seed's difference to the baseline.
If true variances follow a scaled inverse chi-square of d0 degrees of freedom, the logarithms of s_j^2 spread by trigamma(d_j / 2)
for chance and trigamma(d0 / 2) for real differences. d0 is estimated from that spread; 4 means that true standard deviations
differ by a factor of 1.5 either way, infinity that they are all equal.

How sure is it? Arms of one study share the baseline's seeds, so their variances are not independent. So studies of the same
shape are simulated, with the correlation between differences that was seen: the interval of d0 holds those values under which
the spread that was found is none of the 5 % most extreme, and the largest variance over the smallest is compared with what
equal variances give.

Source: Smyth 2004 (see `analysis.moderation`); the interval inverts a Monte Carlo test (Davison and Hinkley 1997, Bootstrap
Methods and their Application, chapters 4 and 5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import special

from analysis.moderation import prior, standing_out
from analysis.outcomes import Outcomes

LEAST_SEEDS = 5
RUNS = 2_000
PRIOR_DF = (*np.geomspace(0.5, 200, 60).tolist(), math.inf)
"""Values of d0 that are tried for its interval."""
ARMS = ("study", "arm", "seeds", "sd", "relative_variance", "expected_low", "expected_high", "stands_out")


@dataclass(frozen=True)
class Seeds:
    """Differences to the baseline of the arms of one study, which have these seeds in common with it."""

    study: str
    arms: tuple[str, ...]
    differences: tuple[Float[np.ndarray, " seeds"], ...]
    """Of each arm, by seed: 0 to 1. Arms may have different seeds."""
    seeds: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Survey:
    """How alike variances are, of one protocol and data set."""

    protocol: str
    data: str
    studies: int
    arms: pd.DataFrame
    """One row a variance, from small to large: study, arm, seeds, sd (0 to 1), relative_variance (to that around which all
    lie), expected_low, expected_high (where 95 % of studies of equal variances have the sd of this rank), stands_out (it is
    larger than the others let expect; 5 %, Holm)."""
    sd: float
    """Around which they lie, 0 to 1."""
    prior_df: float
    prior_df_interval: tuple[float, float]
    """95 %; infinite: equal variances are not excluded."""
    ratio: float
    """Of the largest variance to the smallest."""
    equal_ratio: tuple[float, float]
    """What equal variances give: the median, and what 2.5 % of studies exceed."""
    correlation: float
    """Between two arms' differences to one baseline, over seeds."""

    def sentence(self) -> str:
        """What was found, for people."""
        low, high = (_number(value) for value in self.prior_df_interval)
        out = self.arms.loc[self.arms["stands_out"], "arm"].tolist()
        return (
            f"{self.protocol}: {len(self.arms)} variances of {_studies(self.studies)}, around an SD of {100 * self.sd:.2f} "
            f"points; prior degrees of freedom {_number(self.prior_df)} [{low}, {high}]; largest over smallest variance "
            f"{self.ratio:.3g}, where equal variances give {self.equal_ratio[0]:.3g} (97.5 % below {self.equal_ratio[1]:.3g}); "
            f"{'no arm stands out' if not out else 'standing out: ' + ', '.join(out)}"
        )


def surveys(studies: Sequence[Outcomes], *, least_seeds: int = LEAST_SEEDS, seed: int = 0) -> list[Survey]:
    """A survey for each protocol and data set of which there are at least eight variances of so many seeds or more.

    Arms that several studies share, with the same baseline, count once. Nothing but accuracies is read. Args: seed: of the
    simulation.
    """
    groups: dict[tuple[str, str], list[Seeds]] = {}
    known: set[tuple[str, ...]] = set()
    for outcomes in studies:
        found = _seeds(outcomes, least_seeds, known)
        if found.arms:
            groups.setdefault((outcomes.study.protocol, outcomes.study.data_text), []).append(found)
    return [
        _survey(*group, members, seed)
        for group, members in groups.items()
        if sum(len(member.arms) for member in members) > 7
    ]


def _seeds(outcomes: Outcomes, least: int, known: set[tuple[str, ...]]) -> Seeds:
    done = outcomes.finished
    base = done[done["is_baseline"]].set_index("seed")
    arms, differences, seeds = [], [], []
    for arm, cells in done[~done["is_baseline"].astype(bool)].groupby("arm", sort=False):
        own = cells.set_index("seed")
        both = sorted(own.index.intersection(base.index))
        keys = (*own.loc[both, "key"], *base.loc[both, "key"])
        if len(both) < least or keys in known:
            continue
        known.add(keys)
        arms.append(str(arm))
        seeds.append(tuple(both))
        differences.append((own.loc[both, "test_accuracy"] - base.loc[both, "test_accuracy"]).to_numpy(float))
    return Seeds(outcomes.study.name, tuple(arms), tuple(differences), tuple(seeds))


def _survey(protocol: str, data: str, members: Sequence[Seeds], seed: int) -> Survey:
    variances = np.array([values.var(ddof=1) for member in members for values in member.differences])
    df = np.array([len(values) - 1.0 for member in members for values in member.differences])
    known = prior(variances, df)
    correlation = _correlation(members)
    rng = np.random.default_rng(seed)
    equal = _chance(members, correlation, rng)
    spread = float(_spread(variances, df))
    possible = [d0 for d0 in PRIOR_DF if _is_possible(spread, _spread(_varied(equal, d0, rng), df))]
    ratios = equal.max(axis=-1) / equal.min(axis=-1)
    order = np.argsort(variances)
    low, high = np.quantile(np.sort(equal, axis=-1), (0.025, 0.975), axis=0) * float(known.variance)
    rows = pd.DataFrame(
        {
            "study": [member.study for member in members for _ in member.arms],
            "arm": [arm for member in members for arm in member.arms],
            "seeds": df.astype(int) + 1,
            "sd": np.sqrt(variances),
            "relative_variance": variances / float(known.variance),
            "stands_out": standing_out(variances, df),
        }
    ).iloc[order]
    return Survey(
        protocol=protocol,
        data=data,
        studies=len(members),
        arms=rows.assign(expected_low=np.sqrt(low), expected_high=np.sqrt(high))[list(ARMS)].reset_index(drop=True),
        sd=math.sqrt(float(known.variance)),
        prior_df=float(known.df),
        prior_df_interval=(min(possible, default=math.nan), max(possible, default=math.nan)),
        ratio=float(variances.max() / variances.min()),
        equal_ratio=(float(np.median(ratios)), float(np.quantile(ratios, 0.975))),
        correlation=correlation,
    )


def _spread(variances: Float[np.ndarray, "*runs arms"], df: Float[np.ndarray, " arms"]) -> Float[np.ndarray, "*runs"]:
    """Variance of the logarithms, beyond what chance gives; see `moderation.prior`."""
    e = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
    return e.var(axis=-1, ddof=1) - special.polygamma(1, df / 2).mean()


def _is_possible(found: float, simulated: Float[np.ndarray, " runs"]) -> bool:
    low, high = np.quantile(simulated, (0.025, 0.975))
    return bool(low <= found <= high)


def _correlation(members: Sequence[Seeds]) -> float:
    """Mean over every two arms of a study that have the same seeds; 0.5 where there are none, as if arms were independent."""
    found = [
        np.corrcoef(member.differences[a], member.differences[b])[0, 1]
        for member in members
        for a, b in combinations(range(len(member.arms)), 2)
        if member.seeds[a] == member.seeds[b] and min(member.differences[a].std(), member.differences[b].std()) > 0
    ]
    return float(np.clip(np.mean(found), 0, 0.95)) if found else 0.5


def _chance(members: Sequence[Seeds], correlation: float, rng: np.random.Generator) -> Float[np.ndarray, "runs arms"]:
    """Variances of simulated studies of the same shape, in which all true variances are 1."""
    columns = []
    for member in members:
        most = 1 + max(seed for seeds in member.seeds for seed in seeds)
        shared = rng.standard_normal((RUNS, most))
        for seeds in member.seeds:
            own = rng.standard_normal((RUNS, len(seeds)))
            values = math.sqrt(correlation) * shared[:, list(seeds)] + math.sqrt(1 - correlation) * own
            columns.append(values.var(axis=-1, ddof=1))
    return np.stack(columns, axis=-1)


def _varied(
    equal: Float[np.ndarray, "runs arms"], d0: float, rng: np.random.Generator
) -> Float[np.ndarray, "runs arms"]:
    """The same with true variances that follow a scaled inverse chi-square of d0 degrees of freedom."""
    return equal if math.isinf(d0) else equal * d0 / rng.chisquare(d0, equal.shape)


def _studies(count: int) -> str:
    return f"{count} stud{'y' if count == 1 else 'ies'}"


def _number(value: float) -> str:
    return "infinite" if math.isinf(value) else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
