"""Questions over ranks: who gets which, and that every rank has the answers of one."""

from dataclasses import replace

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood import LikelihoodScorer, score_over_ranks
from kinnari.evaluation.likelihood.ranks import split
from kinnari.evaluation.question import Candidate, Question
from tests.distributed import run_ranks
from tests.kinnari.evaluation.likelihood.families import TOKENIZER, questions, tiny


def _scores() -> tuple[list[list[float]], str]:
    dist.init_process_group("gloo")
    told: list[int] = []
    scorer = LikelihoodScorer(tiny("llama"), TOKENIZER)
    found = score_over_ranks(scorer, questions(), told.append)
    assert told[-1] == len(questions())
    few = score_over_ranks(scorer, questions()[:1])  # a rank without a question
    assert abs(few[0][1].label - found[0][1].label) < 1e-5
    broken = replace(questions()[3], candidates=(Candidate("a", ""), Candidate("a", "b")))
    try:
        score_over_ranks(scorer, [*questions(), broken])
    except ConfigError as error:
        return [[likelihood.sequence for likelihood in candidates] for candidates in found], str(error)
    return [], ""


def test_ranks_share_the_work_and_the_answers_and_a_mistake():
    expected = [[c.sequence for c in candidates] for candidates in LikelihoodScorer(tiny("llama"), TOKENIZER).score(questions())]
    results = run_ranks(_scores, 2)
    for found, problem in results:
        assert "no token" in problem, "every rank says what one has met"
        assert [pytest.approx(one, abs=1e-4) for one in expected] == found


def test_one_process_scores_everything():
    scorer = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"})
    assert score_over_ranks(scorer, questions()) == scorer.score(questions())


def question(header: str, length: int) -> Question:
    return Question(id="q", header=header, candidates=(Candidate("x" * length, "a"), Candidate("x" * length, "b")), gold=None)


def test_questions_of_one_header_stay_together_and_ranks_get_equal_work():
    asked = [question("one", 10), question("two", 10), question("one", 10), question("two", 10)]
    assert split(asked, 2) == [[0, 2], [1, 3]]
    assert split([question("", 100), question("", 10), question("", 10), question("", 80)], 2) == [[0], [1, 2, 3]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=20), st.integers(1, 5))
def test_every_question_has_one_rank(headers, ranks):
    parts = split([question(header, length) for header, length in headers], ranks)
    assert len(parts) == ranks and sorted(i for part in parts for i in part) == list(range(len(headers)))
