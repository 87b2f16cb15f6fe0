# %% [markdown]
# # What an ablation found
#
# The effects of a study's arms against its baseline: how large, how sure, at what cost. Every table and figure here comes
# from the functions that the scripts and the report call.
#
# By default this reads a small real study that lies among the tests: depth, 500 training images, three seeds, so its numbers
# show the method and nothing about CIFAR-10. For a study of your own, set the environment variable `ABLATIONS_STUDY` to its
# folder (`results/studies/depth-quick`, say).

# %%
# %matplotlib inline
from analysis import tables
from analysis.effects import remarks
from analysis.notebook import opened
from analysis.study_figures import FIGURES

MARGIN = 0.01  # differences within one percentage point count as equivalent
study = opened("results/studies/depth-smoke", margin=MARGIN)
about = study.outcomes.study
print(about.question, about.data_text, *remarks(study.effects), *study.outcomes.remarks, sep="\n")

# %% [markdown]
# ## Effects
#
# Each arm against the baseline, paired by seed and test image. The interval covers what new seeds and new test images would
# change; it knows nothing of other training images, data sets or budgets. `params`, `head` and `mult-adds` say what else
# moved with the factor: an arm that is also a larger network is not an answer about the factor alone.

# %%
tables.effects(study.effects, title=about.name)

# %% [markdown]
# The same in words, each with its scope. *Inconclusive* is no claim of equality: that is *equivalent*, and it needs an
# interval that lies within the margin. An arm of one seed has no interval, and so no verdict.

# %%
print(*filter(None, study.effects["sentence"]), sep="\n")

# %% [markdown]
# ## Forest plot
#
# Shows size and uncertainty of every difference, and every seed's own. Compare an interval with the line at 0, not with
# another arm's interval: two arms that both differ from the baseline need not differ from each other, and intervals of arms
# that share a baseline overlap more than their difference would suggest. Intervals are adjusted for the number of arms, as the
# fillings are.

# %%
ax = FIGURES["forest"].draw(study)

# %% [markdown]
# ## Accuracy and cost
#
# Shows which arms are worth their multiply-adds among those trained. It promises nothing of networks between them, and
# multiply-adds are not seconds. The bars are spreads of single seeds; whether two arms differ is for the forest plot.

# %%
ax = FIGURES["cost"].draw(study)

# %% [markdown]
# ## Learning curves
#
# Shows how far training had come. Where curves still climb at the end, the study compares architectures *at this budget*: an
# arm that learns slowly may overtake with more epochs, which only training longer can tell. The curves are validation
# accuracy; the test images were looked at once, at the end.

# %%
ax = FIGURES["learning_curves"].draw(study)

# %% [markdown]
# ## The arms
#
# What each arm changes, and how long its trials took. Seconds compare arms only where all trials ran on one device side by
# side alike.

# %%
tables.arms(study.effects, title=about.name)
