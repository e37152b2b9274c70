"""BLAS on one thread inside, whoever else is inside; what was set before comes back last, whoever leaves last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from threading import Event

import numpy as np
import pytest

import linear_theory as lt
from linear_theory import threads

threadpoolctl = pytest.importorskip("threadpoolctl")


def blas_threads():
    """How many threads each BLAS in this process may take."""
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads():
    """BLAS on two threads before and after, set by nobody who still holds on to that."""
    limit = threadpoolctl.threadpool_limits(2, user_api="blas")
    threads._release_blas()
    if blas_threads() != {2}:
        pytest.skip("this BLAS was built for one thread")
    yield
    threads._release_blas()
    limit.restore_original_limits()
    threads._release_blas()


def overlapping(make, order):
    """BLAS threads as seen once all are inside, and each time after one has left, every one in a thread of its own."""
    stay, entered, left = ([Event() for _ in order] for _ in range(3))

    def inside(number):
        limit = make()
        with limit:
            entered[number].set()
            stay[number].wait(10)
        left[number].set()

    with ThreadPoolExecutor(len(order)) as pool:
        for number in range(len(order)):
            pool.submit(inside, number)
            assert entered[number].wait(10)
        seen = [blas_threads()]
        for number in order:
            stay[number].set()
            assert left[number].wait(10)
            seen.append(blas_threads())
    return seen


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_was_set_before_comes_back_last(two_threads, order):
    assert overlapping(lambda: threads.single_threaded_blas, order) == [{1}, {1}, {1}, {2}]
    assert overlapping(lambda: threads.single_threaded_blas, order) == [
        {1},
        {1},
        {1},
        {2},
    ]  # nor is anything kept


def test_one_inside_another(two_threads):
    with threads.single_threaded_blas:
        with threads.single_threaded_blas:
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}


def test_limits_that_do_not_know_of_each_other_leave_other_numbers(two_threads):
    make = lambda: threadpoolctl.threadpool_limits(1, user_api="blas")
    assert overlapping(make, (0, 1)) != [{1}, {1}, {2}]


def test_what_overflows_in_a_thread_is_looked_for_and_not_warned_of():
    """Each thread has NumPy's own words for it, whatever its caller has said: the tests make an error of a warning."""
    X = np.random.default_rng(0).standard_normal((40_000, 40))
    assert threads.cores() == 1 or X.shape[0] * X.shape[1] ** 2 > threads.MIN_THREADED_FLOPS
    solution = lt.solve(X, X @ np.ones(40) * 1e200, np.zeros(40))
    assert np.allclose(solution.theta, 1e200, rtol=1e-12)
    with pytest.raises(lt.InvalidValueError, match="sums of squares overflow"):
        lt.NormalEquations.of(X * 1e160, X[:, 0], np.zeros(40))
