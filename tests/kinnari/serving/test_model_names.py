"""Which model a name means."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.serving.api_errors import ApiError
from kinnari.serving.model_names import ModelNames, alike
from tests.kinnari.serving.recorded import Recorded

RUN = "smollm2_135m+2026-11-22_14-09-03"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        (None, True), ("", True), ("default", True), ("smollm2_135m", True), (RUN, True), ("smollm2", True), ("SmolLM2-135M", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", True), ("smol", False), ("smollm2_360m", False), ("gpt-9", False), ("+", False),
        ("smollm2_135m+another", False),
    ],
)  # fmt: skip
def test_one_model_answers_to_every_name_like_its_own(name: str | None, known: bool) -> None:
    only = Recorded(RUN)
    names = ModelNames([only], ["smollm2_135m"])
    if known:
        assert names.find(name) == ("smollm2_135m", only)
    else:
        with pytest.raises(ApiError, match="there is `smollm2_135m`") as told:
            names.find(name)
        assert (told.value.status, told.value.code) == (404, "model_not_found")


def test_of_two_models_each_answers_to_its_own_name_alone() -> None:
    first, second = Recorded("tiny_causal"), Recorded("tiny_seq2seq")
    names = ModelNames([first, second])
    assert names.listed == ("tiny_causal", "tiny_seq2seq") and names.find("tiny_seq2seq") == ("tiny_seq2seq", second)
    for name, status in ((None, 400), ("", 400), ("default", 404), ("tiny", 404), ("TINY_CAUSAL", 404)):
        with pytest.raises(ApiError, match="`tiny_causal`, `tiny_seq2seq`") as told:
            names.find(name)
        assert told.value.status == status


@pytest.mark.parametrize(("one", "other"), [("qwen2.5-0.5B", "qwen2_5_0_5b"), ("แบบ", "แบบ ใหม่"), ("models/xglm7b/", "xglm7b")])
def test_names_are_alike_from_their_beginnings(one: str, other: str) -> None:
    assert alike(one, other) and alike(other, one)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_names_that_do_not_tell_models_apart_are_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="must differ"):
        ModelNames([Recorded(name) for name in names])
