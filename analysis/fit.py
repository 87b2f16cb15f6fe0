"""How far arms fit the training images, and how far further ones: losses after the last epoch."""

import pandas as pd

from analysis.outcomes import Outcomes

FIT = ("arm", "is_baseline", "seeds", "train_loss", "validation_loss", "gap", "gap_sd", "still_falling")


def fit_table(outcomes: Outcomes) -> pd.DataFrame:
    """A row an arm with a learning curve: means over its finished seeds.

    Columns: arm, is_baseline, seeds, train_loss (of the last epoch), validation_loss (after it), gap (validation less training
    loss), gap_sd (over seeds), still_falling (share of the seeds whose validation loss was lowest after the last epoch, 0 to 1).

    Two things set a gap apart from overfitting. The training loss is a mean over the epoch, so the network was worse at its
    beginning; and it was measured with dropout and augmentation, which the validation loss is free of. Both make the gap smaller,
    often negative. Compare arms, and not an arm with 0.
    """
    epochs = outcomes.epochs
    if epochs.empty:
        return pd.DataFrame(columns=FIT)
    rows = []
    for arm, own in epochs.groupby("arm", sort=False):
        last = own[own["epoch"] == own["epoch"].max()].set_index("seed")
        gap = last["validation_loss"] - last["train_loss"]
        lowest = own.groupby("seed")["validation_loss"].min()
        rows.append(
            (
                arm,
                bool(own["is_baseline"].iloc[0]),
                len(last),
                last["train_loss"].mean(),
                last["validation_loss"].mean(),
                gap.mean(),
                gap.std(ddof=1) if len(gap) > 1 else float("nan"),
                float((last["validation_loss"] <= lowest.loc[last.index]).mean()),
            )
        )
    return pd.DataFrame(rows, columns=FIT)
