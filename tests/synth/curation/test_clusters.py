"""Clusters of vectors, and items that represent them in proportion."""

import numpy as np
import pytest
from numpy.typing import NDArray

from synth.curation.clusters import Clusters, in_proportion, k_means
from synth.errors import UsageError


def blobs(sizes: list[int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Groups that lie far apart, and which group each vector is of; in no order."""
    draw = np.random.default_rng(seed)
    centres = 20 * np.eye(len(sizes), 8)
    groups = draw.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (centres[groups] + draw.normal(size=(len(groups), 8))).astype(np.float32), groups


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_lie_apart_are_found(seed: int) -> None:
    vectors, groups = blobs([50, 30, 20, 5], seed)
    found = k_means(vectors, 4, seed)
    pairs = set(zip(groups.tolist(), found.labels.tolist(), strict=True))
    assert len(pairs) == 4 and len(found.centroids) == 4
    for label in range(4):
        np.testing.assert_allclose(found.centroids[label], vectors[found.labels == label].mean(axis=0), atol=1e-5)
    apart = vectors - found.centroids[found.labels]
    np.testing.assert_allclose(found.distances, (apart**2).sum(axis=1), rtol=1e-4)


def test_no_other_centroid_is_nearer_and_the_seed_decides() -> None:
    vectors = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    found = k_means(vectors, 12, 3)
    squared = ((vectors[:, None] - found.centroids[None]) ** 2).sum(axis=-1)
    assert (found.labels == squared.argmin(axis=1)).mean() > 0.99
    again = k_means(vectors, 12, 3)
    assert np.array_equal(found.labels, again.labels) and np.array_equal(found.centroids, again.centroids)
    assert not np.array_equal(found.labels, k_means(vectors, 12, 4).labels)
    one = ((vectors - vectors.mean(axis=0)) ** 2).sum()
    assert found.distances.sum() < 0.8 * one


def test_fewer_distinct_vectors_than_clusters() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), [4, 2, 1], axis=0)
    found = k_means(vectors, 10, 0)
    assert len(found.centroids) == 3 and not found.distances.any()
    assert sorted(np.bincount(found.labels)) == [1, 2, 4]
    assert len(k_means(np.ones((5, 2), np.float32), 3, 0).centroids) == 1


def test_the_first_n_are_in_proportion_and_nearest_first() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    distances = np.random.default_rng(0).random(100).astype(np.float32)
    order = in_proportion(Clusters(np.zeros((3, 1), np.float32), labels, distances))
    assert sorted(order) == list(range(100))
    for n in range(1, 101):
        counts = np.bincount(labels[order[:n]], minlength=3)
        assert (np.abs(counts - n * np.array([0.6, 0.3, 0.1])) <= 1).all(), n
    for label in range(3):
        assert (np.diff(distances[order[labels[order] == label]]) >= 0).all()
    assert np.bincount(labels[order[:10]], minlength=3).tolist() == [6, 3, 1]


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        k_means(np.ones((2, 2), np.float32), 0, 0)
    with pytest.raises(UsageError, match="nothing to cluster"):
        k_means(np.ones((0, 2), np.float32), 2, 0)
