# %% [markdown]
# # Where it looks
#
# Grad-CAM in numbers and pictures, on stimuli whose objects have known outlines. By default of a small real study among the
# tests, so its numbers show the method and nothing about CIFAR-10. For a study of your own, set `ABLATIONS_STUDY` to its
# folder; it must be measured (`experiments/measure.py`).

# %%
# %matplotlib inline
import os
from pathlib import Path

import matplotlib.pyplot as plt

import analysis
from analysis import figures, measure_tables
from analysis.outcomes import Outcomes
from analysis.study_figures import FIGURES
from analysis.study_tables import StudyTables

CLONE = Path(analysis.__file__).parents[1]
STUDY = Path(os.environ.get("ABLATIONS_STUDY", CLONE / "tests/data/measured/studies/depth-measured"))

plt.rcParams.update({**figures.STYLE, "figure.figsize": (5.0, 3.0), "figure.dpi": 80})

# %%
study = StudyTables(Outcomes.from_store(STUDY))
print(study.outcomes.study.data_text, *study.measures.missing("attention"), sep="\n")

# %% [markdown]
# Lift is how much more of a map lies on the object than a map would that points nowhere; specificity, than lies on other
# images' objects. Read them beside a blob in the middle and a map of edges, which know nothing of objects and score, too. Arms
# with maps of different resolution are compared at the coarsest.

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
