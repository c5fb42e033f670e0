"""Places the names of points in a plot so that they overlap neither each other nor the points.

The library adjustText (1.4) was tried in place of this module: of the 25 names in the lab's plot of the alien style it
puts 14 on markers and 15 on error bars, where this module puts none and 2.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR = 6.0
"""Gap up to which a name stands at its point, with no line between them. All lengths are typographic points."""
GAPS = (4.0, NEAR, 9.0, 13.0, 18.0, 24.0, 31.0, 40.0, 51.0, 65.0, 85.0, 110.0, 140.0)
SIDES = np.array([side for side in itertools.product((-1, -0.5, 0, 0.5, 1), repeat=2) if max(map(abs, side)) == 1])
"""Places tried around a point: gaps, and directions with half the name's width and height as their units."""

OUTSIDE, NAME, MARKER, BAR = 30.0, 10.0, 5.0, 0.8
"""Costs of a square point of a name outside the frame, over another name, over a marker and over an error bar."""
DISTANT, DOUBTFUL = 1.5, 1.5
"""Costs of a point more between a name and its point, and less than `CLEAR` between a name and another's point."""
CLEAR = 14.0
UNDER, ACROSS = 30.0, 40.0
"""Costs of a step of a line under a name or marker, and of two lines crossing."""

RADIUS = 4.0
MARGIN = 1.5
STEPS = 9
ROUNDS = 12


def place(points: Floats, sizes: Floats, bars: Floats, frame: Floats) -> Floats:
    """Find a place for each point's name: near it, inside the frame, and free if there is a free one.

    Names are placed one after the other, each at its best place given those before, and then moved by turns until
    none would rather be elsewhere. Where that ends depends on who goes first, so the best of a few orders is taken.

    Args:
        points: x and y of each point, (n, 2), in typographic points.
        sizes: width and height of each name, (n, 2).
        bars: boxes (left, bottom, right, top) around error bars, hidden where there is no better place, (m, 4).
        frame: the box that the names must stay in, (4,).

    Returns:
        The centres of the names, (n, 2).
    """
    own = [
        _own_costs(point, size, np.delete(points, name, 0), bars, frame)
        for name, (point, size) in enumerate(zip(points, sizes, strict=True))
    ]
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, :5].sum(axis=1)
    keys = (distances, -distances, points[:, 0], -points[:, 0], points[:, 1], -points[:, 1])
    settled = (_settle(np.argsort(key, kind="stable"), points, sizes, own) for key in keys)
    return min(settled, key=lambda placed: placed[1])[0]


def _settle(
    order: NDArray[np.int64], points: Floats, sizes: Floats, own: list[tuple[Floats, Floats]]
) -> tuple[Floats, float]:
    """Place the names in an order, and move them until no move lowers the cost; the centres, and the total cost."""
    centres, costs = np.zeros_like(points), np.zeros(len(points))
    placed = np.zeros(len(points), bool)
    for _ in range(ROUNDS):
        before = centres.copy()
        for name in order:
            placed[name] = False  # not in its own way
            candidates, alone = own[name]
            beside = _costs_beside(
                points[name], candidates, sizes[name], points[placed], centres[placed], sizes[placed]
            )
            best = (alone + beside).argmin()
            centres[name], costs[name], placed[name] = candidates[best], (alone + beside)[best], True
        if (centres == before).all():
            break
    return centres, float(costs.sum())


def far(point: Floats, centre: Floats, size: Floats) -> bool:
    """Whether a name at `centre` is so far from its point that it needs a line to it."""
    gaps = np.abs(centre - point) - size / 2
    return float(gaps.max()) > NEAR + 1e-6


def _own_costs(point: Floats, size: Floats, others: Floats, bars: Floats, frame: Floats) -> tuple[Floats, Floats]:
    """Places for a name, and the part of their cost that does not depend on the other names."""
    gaps = np.repeat(GAPS, len(SIDES))
    sides = np.tile(SIDES, (len(GAPS), 1))
    candidates = point + sides * (gaps[:, None] + size / 2)
    boxes = _boxes(candidates, size)
    markers = np.concatenate([others - RADIUS, others + RADIUS], axis=1)
    outside = float(np.prod(size + 2 * MARGIN)) - _overlaps(boxes, frame[None])
    hidden = MARKER * _overlaps(boxes, markers) + BAR * _overlaps(boxes, bars)
    under = UNDER * _held(_lines(point, candidates), markers)
    between = np.linalg.norm(np.clip(np.abs(candidates[:, None] - others) - size / 2, 0, None), axis=2)
    doubt = np.clip(CLEAR - between, 0, None).sum(axis=1)
    # The better of equal places is on the right, then above: where a name is looked for first.
    liking = 0.3 * (1 - sides[:, 0]) + 0.1 * (1 - sides[:, 1])
    return candidates, liking + DISTANT * gaps + DOUBTFUL * doubt + OUTSIDE * outside + hidden + under


def _costs_beside(
    point: Floats, candidates: Floats, size: Floats, points: Floats, centres: Floats, sizes: Floats
) -> Floats:
    """What the places for a name cost because of the other names, at `centres`, and of the lines to them."""
    boxes, other_boxes = _boxes(candidates, size), _boxes(centres, sizes)
    hidden = _overlaps(boxes, other_boxes)
    under = _held(_lines(point, candidates), other_boxes)
    spots = _lines(points, centres).reshape(-1, 2)
    over = _holds(boxes, spots).sum(axis=1)
    across = _crossings(point, candidates, points, centres)
    costs: Floats = NAME * hidden + UNDER * (under + over) + ACROSS * across
    return costs


def _boxes(centres: Floats, sizes: Floats) -> Floats:
    """Boxes around centres, a little larger than the names."""
    half = sizes / 2 + MARGIN
    return np.concatenate([centres - half, centres + half], axis=1)


def _lines(starts: Floats, ends: Floats) -> Floats:
    """Steps along the lines from points to names, (n, STEPS, 2)."""
    along = np.linspace(0, 1, STEPS)[:, None]
    return np.broadcast_to(starts, ends.shape)[:, None] * (1 - along) + ends[:, None] * along


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Area of each box that lies in others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas: Floats = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    return areas


def _holds(boxes: Floats, spots: Floats) -> NDArray[np.bool_]:
    """Whether each box holds each spot, (boxes, spots)."""
    (x, y), (left, bottom, right, top) = spots.T, boxes.T[:, :, None]
    held: NDArray[np.bool_] = (left < x) & (x < right) & (bottom < y) & (y < top)
    return held


def _held(lines: Floats, boxes: Floats) -> Floats:
    """How many steps of each line lie in boxes."""
    held = _holds(boxes, lines.reshape(-1, 2)).sum(axis=0, dtype=np.float64)
    steps: Floats = held.reshape(len(lines), STEPS).sum(axis=1)
    return steps


def _crossings(point: Floats, candidates: Floats, points: Floats, centres: Floats) -> Floats:
    """How many of the other lines are crossed by the line from a point to each of its places."""
    line, others = candidates - point, centres - points
    ends_apart = _turn(line[:, None], points - point) * _turn(line[:, None], centres - point) < 0
    places_apart = _turn(others, candidates[:, None] - points) * _turn(others, point - points) < 0
    crossed: Floats = (ends_apart & places_apart).sum(axis=1, dtype=np.float64)
    return crossed


def _turn(one: Floats, other: Floats) -> Floats:
    """Cross product of vectors: positive where `other` points to the left of `one`."""
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
