"""Waits of repeated requests: doubling, jittered, bounded, and never shorter than the server asks."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.completion.retrying import Backoff, retry_after_s
from kinnari.errors import ConfigError


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9))
def test_a_wait_lies_between_half_the_doubled_and_the_longest(failures, asked):
    wait = Backoff(first_s=1.0, longest_s=60.0).wait_s(failures, asked)
    assert min(60.0, max(0.5 * min(60.0, 2.0 ** min(failures - 1, 60)), asked or 0.0)) <= wait <= 60.0


def test_waits_double():
    waits = [Backoff(first_s=1.0, longest_s=1000.0).wait_s(n) for n in (1, 2, 3, 4)]
    assert all(low <= wait <= 2 * low for wait, low in zip(waits, (0.5, 1, 2, 4), strict=True))


def test_both_forms_of_retry_after_are_read():
    assert retry_after_s({"retry-after": "7"}) == 7.0
    assert retry_after_s({"retry-after": "0.5"}) == 0.5
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 25 < (retry_after_s({"retry-after": date}) or 0) <= 30
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


@pytest.mark.parametrize("headers", [{}, {"retry-after": ""}, {"retry-after": "soon"}, {"retry-after": "-5"}])
def test_no_readable_retry_after_is_none(headers):
    assert retry_after_s(headers) is None


@pytest.mark.parametrize("values", [{"attempts": 0}, {"first_s": -1.0}, {"first_s": 5.0, "longest_s": 1.0}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ConfigError):
        Backoff(**values)
