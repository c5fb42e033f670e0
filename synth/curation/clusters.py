"""Clusters of vectors (k-means), and items that represent them in proportion.

Lloyd's iteration from k-means++ seeding (Arthur and Vassilvitskii 2007), on float32 vectors; the same seed
gives the same clusters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.errors import UsageError

ITERATIONS = 100
"""Most rounds of Lloyd's iteration; it usually converges after a few dozen."""

_PRODUCTS = 1 << 24
"""Distances that are held in memory at once."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """The cluster of each vector.

    Attributes:
        centroids: float32, shape `[clusters, width]`; none is empty.
        labels: the nearest centroid of each vector, shape `[vectors]`.
        distances: squared, from each vector to that centroid, float32, shape `[vectors]`.
    """

    centroids: NDArray[np.float32]
    labels: NDArray[np.int64]
    distances: NDArray[np.float32]


def k_means(vectors: NDArray[np.float32], clusters: int, seed: int) -> Clusters:
    """Cluster vectors so that the squared distances to their clusters' means are small.

    Args:
        vectors: finite, shape `[vectors, width]`, at least one.
        clusters: how many; there are fewer if there are fewer distinct vectors.
        seed: of the first centroids.

    Raises:
        UsageError: there are no vectors, or no clusters were asked for.
    """
    if clusters < 1:
        raise UsageError(f"clusters must be at least 1, not {clusters}")
    if not len(vectors):
        raise UsageError("there is nothing to cluster")
    centroids = _seeded(vectors, clusters, np.random.default_rng(seed))
    labels, distances = _nearest(vectors, centroids)
    for _ in range(ITERATIONS):
        before, centroids = labels, _means(vectors, labels, distances, len(centroids))
        labels, distances = _nearest(vectors, centroids)
        if np.array_equal(labels, before):
            break
    used, labels = np.unique(labels, return_inverse=True)
    return Clusters(centroids[used], labels, distances)


def in_proportion(clusters: Clusters) -> NDArray[np.int64]:
    """All items in an order whose first n, for any n, represent the clusters.

    Within a cluster those nearest to the centroid come first; between clusters places are allotted as in Sainte-Laguë's
    method, so that the first n hold each cluster in proportion to its size, without rounding that misses n.
    """
    count = len(clusters.labels)
    nearest = np.lexsort((np.arange(count), clusters.distances, clusters.labels))
    sizes = np.bincount(clusters.labels)
    ranks = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    quotients = (ranks + 0.5) / np.repeat(sizes, sizes)
    order: NDArray[np.int64] = nearest[np.lexsort((nearest, quotients))]
    return order


def _seeded(vectors: NDArray[np.float32], clusters: int, draw: np.random.Generator) -> NDArray[np.float32]:
    """First centroids: each is drawn with a chance in proportion to its squared distance from those before it."""
    chosen = [int(draw.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf)
    while len(chosen) < clusters:
        _, latest = _nearest(vectors, vectors[chosen[-1:]])
        distances = np.minimum(distances, latest)
        distances[chosen[-1]] = 0
        if not distances.any():
            break  # every vector is a centroid already
        chosen.append(int(draw.choice(len(vectors), p=distances / distances.sum())))
    return vectors[chosen]


def _nearest(
    vectors: NDArray[np.float32], centroids: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centroid of each vector, and the squared distance to it; some vectors at a time."""
    labels = np.empty(len(vectors), np.int64)
    step = max(1, _PRODUCTS // len(centroids))
    squares = np.einsum("cw,cw->c", centroids, centroids)
    for begin in range(0, len(vectors), step):
        part = vectors[begin : begin + step]
        labels[begin : begin + step] = (squares - 2 * part @ centroids.T).argmin(axis=1)
    distances = np.empty(len(vectors), np.float32)
    rows = max(1, _PRODUCTS // vectors.shape[1])
    for begin in range(0, len(vectors), rows):  # from the differences: exact where a vector is its centroid
        apart = vectors[begin : begin + rows] - centroids[labels[begin : begin + rows]]
        distances[begin : begin + rows] = np.einsum("vw,vw->v", apart, apart)
    return labels, distances


def _means(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], distances: NDArray[np.float32], clusters: int
) -> NDArray[np.float32]:
    """The mean of each group; an empty group starts again at one of the vectors farthest from their centroids."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=clusters)
    filled = np.flatnonzero(sizes)
    means = np.empty((clusters, vectors.shape[1]), np.float32)
    sums = np.add.reduceat(vectors[order], (np.cumsum(sizes) - sizes)[filled], axis=0, dtype=np.float64)
    means[filled] = sums / sizes[filled, None]
    empty = np.flatnonzero(sizes == 0)
    means[empty] = vectors[np.argsort(-distances, kind="stable")[: len(empty)]]
    return means
