# %% [markdown]
# # Shape or texture?
#
# Stimuli with the shape of one thing and the texture of another (Geirhos et al. 2019), asked of the networks of a study. By
# default of a small real study among the tests: two depths, 2,000 training images, two seeds, so its numbers show the method
# and nothing about CIFAR-10. For a study of your own, set `ABLATIONS_STUDY` to its folder; it must be measured
# (`experiments/measure.py`).

# %%
# %matplotlib inline
from analysis import measure_tables
from analysis.notebook import opened
from analysis.study_figures import FIGURES

study = opened("measured/studies/depth-measured", dots=80)
print(study.outcomes.study.data_text, *study.measures.missing("shape_bias"), sep="\n")

# %% [markdown]
# A bias says little of a network that cannot name the stimuli whose cues agree: look at that column first. Stimuli reach the
# networks as small as the training images, and answers are among seven categories, so values compare arms with each other and
# not with networks trained on ImageNet. A bias says little, too, that networks with random weights or a classifier of colours
# have as well: they stand beside it. Two arms whose intervals overlap may still differ: the difference is paired.

# %%
measure_tables.shape_bias(study.measures.shape_bias)

# %%
ax = FIGURES["shape_bias"].draw(study)

# %% [markdown]
# The same answers, asked otherwise: among all ten classes, and of stimuli that were not made as small as the training images. How
# stimuli reach a network decides much of its bias, so these say how far a difference between arms depends on that.

# %%
measure_tables.shape_bias_otherwise(study.measures.shape_bias_otherwise)

# %% [markdown]
# ## What the networks rely on
#
# The share of accuracy that is kept when one kind of information is taken from the test images. It is not 0 where nothing is
# left to rely on, because guessing keeps something.

# %%
ax = FIGURES["reliance"].draw(study)
