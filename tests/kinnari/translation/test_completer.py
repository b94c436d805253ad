"""A language model that is asked to translate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from kinnari.completion.completer import Completion, CompletionSettings, Prompt
from kinnari.errors import ConfigError
from kinnari.translation.completer import CompleterTranslator

PROMPT = "From {source} into {target}:\n{text}"


@dataclass
class Scripted:
    """Answers each text (the last line of its prompt) as `answers` says."""

    answers: dict[str, Completion] = field(default_factory=dict)
    name: str = "scripted"
    prompts: list[Prompt] = field(default_factory=list)

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        self.prompts += prompts
        on_progress(len(prompts))
        asked = [prompt[-1].content.split(":\n", 1)[1] for prompt in prompts if not isinstance(prompt, str)]
        return [self.answers.get(text, Completion(f" <{text}>\n", "stop")) for text in asked]


def test_the_model_is_told_both_languages_and_gets_the_text_without_its_code() -> None:
    completer = Scripted()
    engine = CompleterTranslator(completer, prompt=PROMPT, system="You know {target}.")
    text = "Run {this}:\n```\nx = {1}\n```\nThen rest.\n"
    assert engine.translate([text], "en", "th")[0].text == "<Run {this}:>\n```\nx = {1}\n```\n<Then rest.>\n"
    system, asked = completer.prompts[0]
    assert (system.role, system.content) == ("system", "You know Thai.")
    assert (asked.role, asked.content) == ("user", "From English into Thai:\nRun {this}:")


def test_each_text_is_asked_for_once_and_answers_keep_their_places() -> None:
    completer = Scripted({"b": Completion("", "failed", "429"), "c": Completion("half", "length")})
    engine = CompleterTranslator(completer, prompt=PROMPT, settings={"max_tokens": 7})
    results = engine.translate(["a", "b", "a", "c", "42"], "ko", "zh")
    assert [result.text for result in results] == ["<a>", None, "<a>", None, "42"]
    assert [results[1].error, results[3].error] == ["429", "not finished within translation.engine.settings.max_tokens=7"]
    assert len(completer.prompts) == 3


def test_the_identity_follows_model_prompt_and_decoding() -> None:
    first = CompleterTranslator(Scripted(), prompt=PROMPT).identity
    for other in (
        CompleterTranslator(Scripted(name="other"), prompt=PROMPT),
        CompleterTranslator(Scripted(), prompt=PROMPT + "!"),
        CompleterTranslator(Scripted(), prompt=PROMPT, settings={"temperature": 0.5}),
        CompleterTranslator(Scripted(), prompt=PROMPT, weights="adapter"),
    ):
        assert other.identity != first
    assert CompleterTranslator(Scripted(), prompt=PROMPT).identity == first


@pytest.mark.parametrize("prompt", ["Translate.", "{text} {name}", "{text} {"])
def test_a_prompt_that_cannot_be_filled_is_refused(prompt: str) -> None:
    with pytest.raises(ConfigError, match=r"translation\.engine\.prompt"):
        CompleterTranslator(Scripted(), prompt=prompt)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="temprature"):
        CompleterTranslator(Scripted(), prompt=PROMPT, settings={"temprature": 0.5})
