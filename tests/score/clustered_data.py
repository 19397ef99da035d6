"""Values in clusters, drawn at random, for the tests of clustered statistics."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

N_SETS = 1000  # 95 % coverage has a standard error of 0.7 % over so many, 5 % rejections likewise
N_RESAMPLES = 400  # instead of 4,000: a 95 % interval then covers less by some tenths of a per cent
FEW = settings(max_examples=30, deadline=None)  # each example draws 4,000 resamples or up to 4,096 sign patterns
VALUES = st.none() | st.integers(-64, 64).map(lambda n: n / 64)
VALUES_OF_CLUSTERS = st.lists(st.tuples(VALUES, st.integers(0, 6)), max_size=30)


def columns(pairs):
    return [value for value, _ in pairs], [cluster for _, cluster in pairs]


# Values whose true mean is 0.2: `per_cluster` of each unit, made of the unit's own level and a part of their own.


def draw_levels(rng, shape, skewed):
    """Mean 0.2, sd 0.18. Skewed: within 0 to 1, most of them low and some high, as scores are; skewness 1.1."""
    return rng.beta(0.8, 3.2, shape) if skewed else rng.normal(0.2, 0.18, shape)


def draw_values(rng, n_clusters, *, skewed, per_cluster):
    """Values and their clusters. Values of one cluster correlate by 0.8: the parts of their own have half the sd of
    the levels. `per_cluster` of None draws from 1 to 15 for each cluster."""
    sizes = rng.integers(1, 16, n_clusters) if per_cluster is None else np.full(n_clusters, per_cluster)
    clusters = np.repeat(np.arange(n_clusters), sizes)
    levels = draw_levels(rng, n_clusters, skewed)[clusters]
    own = 0 if per_cluster == 1 else rng.normal(0, 0.09, clusters.size)
    return (levels + own).tolist(), clusters.tolist()
