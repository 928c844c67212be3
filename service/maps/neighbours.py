"""Layouts by neighbours (t-SNE, with a package that is an extra), and places for new rows."""

import itertools
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.maps.projection import in_plane

LEAST_POINTS = 50  # fewer keep the positions of the projection
NEIGHBOURS = 15  # with equal weights: half of the time and memory of the usual ninety, equally trustworthy
FEW_POINTS = 5000  # for which one thread is as fast as several
EARLY_ROUNDS, ROUNDS = 250, 500
REPORT_ROUNDS = 25  # between two reports of the progress
PLACED_BY = 3  # nearest neighbours
COMPARED_AT_ONCE = 10_000_000  # distances: 40 MB
SEED = 1


def laid_out(coordinates: NDArray[np.float32], report: Callable[[float], None]) -> NDArray[np.float32]:
    """Positions `(n, 2)` of points with these coordinates; calls `report` with the progress. Deterministic."""
    if len(coordinates) < LEAST_POINTS:
        return in_plane(coordinates)
    from openTSNE import TSNEEmbedding, affinity  # slow, and an extra

    jobs = 1 if len(coordinates) < FEW_POINTS else os.cpu_count() or 1
    beside = affinity.Uniform(coordinates, k_neighbors=NEIGHBOURS, method="annoy", n_jobs=jobs, random_state=SEED)
    # Starts from the projection, to keep its global structure, with noise to separate equal points.
    begin = np.random.default_rng(SEED).normal(scale=1e-6, size=(len(coordinates), 2))
    spread = coordinates.std(axis=0)[:2]
    begin[:, : len(spread)] += coordinates[:, :2] / max(float(spread[0]), 1e-6) * 1e-4
    report(0.1)
    rounds = itertools.count(REPORT_ROUNDS, REPORT_ROUNDS)
    options = {
        "callbacks": lambda *_: report(0.1 + 0.9 * next(rounds) / (EARLY_ROUNDS + ROUNDS)),
        "callbacks_every_iters": REPORT_ROUNDS,
    }
    points = TSNEEmbedding(begin, beside, n_jobs=jobs, random_state=SEED, **options)
    points = points.optimize(EARLY_ROUNDS, exaggeration=12, momentum=0.5)
    points = points.optimize(ROUNDS, momentum=0.8)
    return np.asarray(points, dtype=np.float32)


def placed(
    coordinates: NDArray[np.float32], known: NDArray[np.float32], positions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Positions of points as the mean of the nearest `known` ones, weighted by inverse squared distance."""
    made = np.empty((len(coordinates), 2), dtype=np.float32)
    squares = np.square(known).sum(axis=1)
    count, step = min(PLACED_BY, len(known)), max(1, COMPARED_AT_ONCE // max(len(known), 1))
    for start in range(0, len(coordinates), step):
        some = coordinates[start : start + step]
        apart = squares - 2 * (some @ known.T)
        nearest = np.argpartition(apart, count - 1, axis=1)[:, :count]
        far = np.take_along_axis(apart, nearest, axis=1) + np.square(some).sum(axis=1, keepdims=True)
        weights = 1 / np.maximum(far, 1e-9)
        weights /= weights.sum(axis=1, keepdims=True)
        made[start : start + step] = np.einsum("ij,ijk->ik", weights, positions[nearest])
    return made
