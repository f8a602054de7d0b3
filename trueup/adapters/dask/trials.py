"""Trials of a search on the workers of a cluster: a unit is one recipe on one fold."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from trueup.adapters.dask.cluster import Cluster
from trueup.adapters.dask.worker import name_of_worker
from trueup.adapters.fit_cache import Fits
from trueup.adapters.optuna import Score, Together
from trueup.domain.features.chunks import chunks_of
from trueup.domain.learning.recipe import Recipe
from trueup.domain.learning.searched import Searched
from trueup.errors import ClusterFailed


@contextmanager
def trials_at(cluster: Cluster, searched: Searched, at_once: int, fits: Fits) -> Iterator[tuple[Score, Together]]:
    """For the block, what scores a recipe on the cluster, and what runs `at_once` trials together there.

    A trial goes on to its next fold when it is not pruned, as it does here. The workers' seconds are added to `fits`.
    """
    seconds = list[float]()
    with ThreadPoolExecutor(at_once) as threads, cluster.sharing(searched) as shared:

        def score(recipe: Recipe) -> Iterator[float]:
            for fold in range(len(searched.folds)):
                loss, spent = shared.call(_measured, recipe, fold)
                seconds.append(spent)
                yield loss

        yield score, threads.map
    fits.spent += sum(seconds)


def _measured(searched: Searched, recipe: Recipe, fold: int) -> tuple[float, float]:
    """The loss of a recipe on a fold, and the seconds of the fit. Raises ClusterFailed if the rows cannot be read here."""
    try:
        next(iter(chunks_of(searched.rows)), None)
    except Exception as error:
        raise ClusterFailed(
            f"the Dask worker {name_of_worker()} cannot read the rows of the search: {error}; give it the credentials of the home's "
            "object store, then run again"
        ) from None
    fits = Fits()
    return searched.loss(fits.fit, recipe, fold), fits.spent
