"""Who judges, and under which name replies are kept."""

from __future__ import annotations

import pytest

from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.local import LocalCompleter
from kinnari.errors import ConfigError
from kinnari.tasks.compose import compose
from kinnari.tasks.judge_backend import judge_completer


@pytest.fixture
def judge_of(tmp_path):
    return lambda *words: judge_completer(compose(["task=judge", "model=tiny_causal", f"judge.cache={tmp_path}/j.sqlite", *words]))


def test_an_endpoint_is_known_by_its_models_name_and_asked_in_parallel(judge_of):
    found = judge_of("judge.judge=http://127.0.0.1:9/v1", "judge.judge_model=m", "judge.parallel=5")
    assert isinstance(found.completer, EndpointCompleter) and (found.name, found.chunk, found.workers) == ("m", 1, 5)


def test_a_local_model_is_known_by_its_weights_and_its_template(judge_of):
    found = judge_of()
    assert isinstance(found.completer, LocalCompleter) and (found.chunk, found.workers) == (4, 1)
    assert found.name == judge_of().name and found.name.startswith("tiny_causal@")
    others = {judge_of(word).name for word in ("seed=7", "model/template=alpaca")}
    assert len({found.name, *others}) == 3


def test_an_endpoint_without_the_name_of_a_model_and_a_folder_that_is_not_there_are_refused(judge_of):
    with pytest.raises(ConfigError, match=r"judge\.judge_model=NAME"):
        judge_of("judge.judge=http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match=r"judge\.judge=\./nowhere is neither"):
        judge_of("judge.judge=./nowhere")


def test_a_cache_that_is_something_else_is_refused_before_anybody_is_asked(judge_of, tmp_path):
    (tmp_path / "j.sqlite").write_text("something else altogether, of a hundred characters and more " * 30)
    with pytest.raises(ConfigError, match=r"judge\.cache="):
        judge_of()
