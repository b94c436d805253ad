"""Which generator a section means."""

from __future__ import annotations

import pytest

from kinnari.completion.completer import CompletionSettings
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.local import LocalCompleter
from kinnari.errors import ConfigError
from kinnari.models.source import model_source
from kinnari.tasks import build
from kinnari.tasks.completers import ChatCompleter, completer, completion_settings
from kinnari.tasks.compose import compose
from kinnari.text.conversation import Message

BASE = ["task=bootstrap", "model=tiny_causal"]


def test_an_address_is_an_endpoint():
    cfg = compose([*BASE, "bootstrap.generator=http://127.0.0.1:9/v1", "bootstrap.generator_model=m", "bootstrap.chat=false"])
    found = completer(cfg, "bootstrap")
    assert isinstance(found, EndpointCompleter) and (found.name, found.chat, found.parallel) == ("m", False, 8)


def test_an_endpoint_needs_the_name_of_a_model():
    with pytest.raises(ConfigError, match=r"bootstrap\.generator_model=NAME"):
        completer(compose([*BASE, "bootstrap.generator=http://127.0.0.1:9/v1"]), "bootstrap")


def test_a_folder_and_the_chosen_model_are_local():
    folder = model_source(build.model_spec(compose(BASE)), seed=42)
    by_folder = completer(compose([*BASE, f"bootstrap.generator={folder}"]), "bootstrap")
    chosen = completer(compose(BASE), "bootstrap")
    assert isinstance(by_folder, LocalCompleter) and isinstance(chosen, LocalCompleter)
    assert (by_folder.name, chosen.name) == (folder, "tiny_causal")
    settings = CompletionSettings(max_tokens=4, temperature=0.0)
    assert by_folder.complete(["a"], settings) == chosen.complete(["a"], settings)


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"bootstrap\.generator=\./nowhere is neither"):
        completer(compose([*BASE, "bootstrap.generator=./nowhere"]), "bootstrap")


def test_decoding_is_read_and_unknown_settings_are_named():
    assert completion_settings({"max_tokens": 5, "stop": ["a", "b"]}) == CompletionSettings(max_tokens=5, stop=("a", "b"))
    assert completion_settings({"stop": None}).stop == ()
    with pytest.raises(ConfigError, match="presence_penalty"):
        completion_settings({"max_token": 5})


def test_a_chat_completer_asks_bare_prompts_as_users():
    class Recorder:
        name = "r"

        def complete(self, prompts, settings, on_progress=lambda done: None):
            self.prompts = prompts
            return []

    recorder = Recorder()
    chat = [Message("user", "b")]
    ChatCompleter(recorder).complete(["a", chat], CompletionSettings())
    assert recorder.prompts == [[Message("user", "a")], chat]
