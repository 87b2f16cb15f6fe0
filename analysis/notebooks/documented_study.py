# %% [markdown]
# # The documented study, read as a sceptical reviewer would
#
# A study trained one four-block network on CIFAR-10, got 65.89 % on the test images, and drew conclusions: the network is biased
# towards shape, attends to objects, needs its dropout, would profit from depth. Is the number what this model does? Do the
# conclusions follow?
#
# Everything here comes from the small tables in `docs/results/documented`, which `experiments/claims.py` makes from the
# results of real studies; a folder of your own is given by the environment variable `ABLATIONS_DOCUMENTED`. What was not
# measured is missing here, and the ledger has the command that measures it.

# %%
# %matplotlib inline
import os
from pathlib import Path

import matplotlib.pyplot as plt

import analysis
from analysis import claims_tables, documented_figures, documented_page, documented_tables, figures, reproduction_tables
from analysis.documented import documented, self_checks

CLONE = Path(analysis.__file__).parents[1]
FOLDER = Path(os.environ.get("ABLATIONS_DOCUMENTED", CLONE / "docs/results/documented"))
FIGURES = {figure.name: figure for figure in documented_figures.FIGURES}

plt.rcParams.update({**figures.STYLE, "figure.figsize": (5.0, 3.0), "figure.dpi": 110})

found = documented_tables.read_tables(FOLDER)
study = documented()
print(study.source)
print(documented_page.outcome(found))

# %% [markdown]
# ## One run, ten thousand images
#
# What can one number say? The test set alone leaves 65.89 % uncertain by almost a point to either side, for the same trained
# network on other images. What another seed would have given, one run cannot say at all: that is what a reproduction is for.

# %%
low, high = study.accuracy_interval()
print(f"{study.test_accuracy:.2%}, on other test images {low:.2%} to {high:.2%}")

# %% [markdown]
# ## Does the document agree with itself?
#
# Its numbers are rounded, so each stands for a small range, and what follows from them is a range, too. The table of classes is
# consistent. The split is not what it is called, and the classes that the text singles out are not the ones in its table: frog
# and horse do as well as truck.

# %%
reproduction_tables.checks(self_checks(study))

# %% [markdown]
# ## The number, measured again
#
# The same recipe with several seeds. A new seed is expected in the interval beside the mean; if the document's run was one
# more seed of this recipe, that is where its number should lie. A number inside shows no more than that: the recipe
# may still be another.

# %%
reproduction_tables.accuracy(found["accuracy"]) if "accuracy" in found else None

# %%
ax = FIGURES["accuracy"].draw(found) if "accuracy" in found else None

# %% [markdown]
# ## Class by class
#
# Where do the two disagree beyond what test set and seeds explain? Thirty comparisons at five per cent each let one or two
# stand out by chance, so single stars say little; a pattern would.

# %%
ax = FIGURES["classes"].draw(found) if "classes" in found else None

# %% [markdown]
# How alike are the classes ranked? Two seeds of one recipe set the mark: no other run can be expected to do better.

# %%
reproduction_tables.ranks(found["ranks"]) if "ranks" in found else None

# %% [markdown]
# ## What the document does not say
#
# How wide are the blocks, how large is the hidden layer, what is the augmentation? Each choice moves the accuracy, and the
# range of other readings is how far the document's silence reaches. A number in that range cannot be told from ours by its
# accuracy.

# %%
ax = FIGURES["undocumented"].draw(found) if "undocumented" in found else None

# %% [markdown]
# ## Vehicles do better. Does that show a bias towards shape?
#
# The document concludes so. A linear classifier that knows colours and grey steps, and nothing of where they are, has no shape
# to be biased to. If it does better on vehicles, too, then doing so is no sign of shape: the pattern may come from colours and
# backgrounds. Shape bias has a definition of its own (Geirhos et al. 2019), and stimuli to measure it on.

# %%
ax = FIGURES["control"].draw(found) if "control" in found else None

# %% [markdown]
# ## The ledger
#
# Each claim with what a rule in code made of it (`analysis/claim_rules.py`). *Not supported* is no accusation: most of these are
# claims about five epochs at one learning rate, and other budgets can answer otherwise. *Inconclusive* says how many seeds would
# settle it.

# %%
claims_tables.ledger(found["claims"])

# %%
ax = FIGURES["differences"].draw(found) if found["claims"]["unit"].eq("points").any() else None

# %% [markdown]
# ## Memory
#
# Larger batches and deeper networks ran out of memory, the document says. What a training step needs follows from the network, as
# far as its images and other programs leave the card alone.

# %%
ax = FIGURES["memory"].draw(found) if "memory" in found else None

# %% [markdown]
# ## What to take from it
#
# A single run supports a single number. Claims about parts of a network need the network without the part, several seeds, and a
# difference with an interval; claims about what it sees need measures made for that. Both are a command each.
