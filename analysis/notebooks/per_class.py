# %% [markdown]
# # Which classes an arm helps or hurts
#
# One number for accuracy hides what happens inside it. This looks at classes, confusions and single images, each paired with
# the baseline by seed and test image.
#
# By default this reads a small real study that lies among the tests: batch normalisation and dropout, 500 training images,
# three seeds, 50 test images a class. That is enough to show the method, and too little for most claims. For a study of your
# own, set the environment variable `ABLATIONS_STUDY` to its folder (`results/studies/depth-quick`, say).

# %%
# %matplotlib inline
from analysis import tables
from analysis.effects import remarks
from analysis.notebook import opened
from analysis.study_figures import FIGURES

MARGIN = 0.01  # differences within one percentage point count as equivalent
study = opened("results/studies/batch_norm_dropout-smoke", margin=MARGIN)
about = study.outcomes.study
print(about.question, about.data_text, *remarks(study.effects), *study.outcomes.remarks, sep="\n")

# %% [markdown]
# ## Change in recall
#
# Shows where an arm's gains and losses lie. A bold number is significant after Holm's correction over all classes and arms;
# one that is not bold may be chance, however strong its colour. That one class is bold and another not does not say that they
# differ.

# %%
ax = FIGURES["per_class"].draw(study)

# %% [markdown]
# ## Groups of classes
#
# The mean recall of a group's classes: in CIFAR-10, of the four vehicles and of the six animals. Whether an arm hurts one
# group more is answered by the row of their difference alone. Even where it does, it does not follow that the network looks
# at shapes, or at textures: simple statistics of colours and edges favour vehicles, too. Other data may name no groups.

# %%
tables.groups(study.class_effects)

# %% [markdown]
# ## Confusions gained and lost
#
# Of each arm, the confusions that rose and fell most. Picked for being the largest, their sizes flatter: expect them smaller
# when the study is repeated. With 90 tests an arm (of ten classes), a confusion that is not significant may have changed all
# the same.

# %%
tables.confusions(study.gained_and_lost)

# %% [markdown]
# ## Images that flip
#
# How many test images the arm loses and gains. Two networks of one recipe that differ in their seed flip images as well, so
# flips in one seed say little about the arm; those in every seed are images to look at.

# %%
tables.flips(study.flips)

# %% [markdown]
# ## Recall, precision and F1 of every arm
#
# Levels, for looking up. Intervals of two arms that overlap say nothing about their difference.

# %%
tables.class_table(study.class_table)
