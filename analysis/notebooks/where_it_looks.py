# %% [markdown]
# # Where it looks
#
# Grad-CAM in numbers and pictures, on stimuli whose objects have known outlines. By default of a small real study among the
# tests, so its numbers show the method and nothing about CIFAR-10. For a study of your own, set `ABLATIONS_STUDY` to its
# folder; it must be measured (`experiments/measure.py`).

# %%
# %matplotlib inline
from analysis import measure_tables
from analysis.notebook import opened
from analysis.study_figures import FIGURES

study = opened("measured/studies/depth-measured", dots=80)
print(study.outcomes.study.data_text, *study.measures.missing("attention"), sep="\n")

# %% [markdown]
# Lift is how much more of a map lies on the object than a map would that points nowhere; specificity, than lies on other
# images' objects. Read them against the same networks with random weights, not against 0: these, a blob in the middle and a
# map of edges know nothing of objects and score, too. Arms are compared by what training added, and where their maps differ
# in resolution at the coarsest.

# %%
measure_tables.attention(study.measures.attention)

# %%
ax = FIGURES["attention"].draw(study)

# %% [markdown]
# ## Pictures
#
# Of each shape, the stimulus to which the arms give most different answers. A picture convinces more than it proves: the
# numbers above are of all stimuli. `experiments/gallery.py` makes sheets of test images and of your own.

# %%
ax = FIGURES["stimuli"].draw(study)
