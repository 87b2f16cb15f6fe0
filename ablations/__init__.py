"""Ablations: arms and grids, the cells that they consist of, their records, and the study that trains them."""
