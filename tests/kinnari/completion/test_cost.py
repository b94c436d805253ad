"""Tokens and money."""

from __future__ import annotations

import pytest

from kinnari.completion.completer import Completion
from kinnari.completion.cost import Spent, estimated_tokens, spent_on
from kinnari.text.conversation import Message


def test_what_the_endpoint_counted_is_taken():
    assert spent_on("x" * 400, Completion("y", "stop", None, 90, 7)) == Spent(1, 0, 90, 7, 0)


def test_what_nobody_counted_is_estimated_and_said_to_be():
    chat = [Message("system", "abcd"), Message("user", "กขค")]
    assert spent_on(chat, Completion("abcdefgh", "stop")) == Spent(1, 0, 5, 2, 1)  # "abcd\n" 2, three Thai characters 3
    assert spent_on("abcd", Completion("y", "stop", None, 90, None)) == Spent(1, 0, 90, 1, 1)


def test_a_failure_costs_nothing_that_is_known():
    assert spent_on("abcd", Completion("", "failed", "no")) == Spent(requests=1, failed=1)


def test_prices_are_per_million():
    spent = Spent(1, 0, 2_000_000, 500_000) + Spent(1, 1, 0, 500_000, 1)
    assert spent == Spent(2, 1, 2_000_000, 1_000_000, 1)
    assert spent.cost(0.5, 1.5) == pytest.approx(2.5)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("안녕", 2), ("hello 世界", 4)])
def test_an_estimate_takes_a_character_without_an_alphabet_for_a_token(text, tokens):
    assert estimated_tokens(text) == tokens
