"""A config's generator -> a completer: a model folder or .gguf file, the address of an endpoint, or null for the model of `model=`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from kinnari.completion.completer import Completer, Completion, CompletionSettings, Prompt
from kinnari.completion.endpoint import EndpointCompleter
from kinnari.completion.local import LocalCompleter
from kinnari.completion.retrying import Backoff
from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.text.conversation import Message


def is_endpoint(generator: str | None) -> bool:
    """Whether a generator is asked over the network."""
    return generator is not None and generator.startswith(("http://", "https://"))


def completer(cfg: DictConfig, section: str, key: str = "generator") -> Completer:
    """The completer that a section of the configuration (`bootstrap`) describes.

    Args:
        cfg: the whole configuration, for `model`, `hw` and `trainer.precision` of local models.
        section: its name; it has `generator`, `generator_model`, `api_key_env`, `parallel`, `timeout_s`, `attempts`, `batch_size`
            and, where bare text may be continued, `chat`.
        key: what it calls its generator, if otherwise (`judge`, then also `judge_model`).

    Raises:
        ConfigError: no such folder, no name of a model for an endpoint, or a value out of its range.
    """
    node = cfg[section]
    place, served = node[key], node[f"{key}_model"]
    if is_endpoint(place):
        if not served:
            raise ConfigError(
                f"The endpoint {section}.{key} may serve several models, so one must be named: add "
                f"{section}.{key}_model=NAME (the name the endpoint knows it by)."
            )
        return EndpointCompleter(
            place,
            served,
            node.api_key_env,
            chat=node.get("chat") is not False,
            parallel=node.parallel,
            timeout_s=node.timeout_s,
            backoff=Backoff(attempts=node.attempts),
        )
    local = cfg if place is None else _with_path(cfg, place, f"{section}.{key}")
    model, tokenizer = build.load_for_inference(local)
    name = str(local.model.path or local.model.name)
    return LocalCompleter(model, tokenizer, build.template(cfg, tokenizer), name=name, batch_size=node.batch_size)


class ChatCompleter:
    """A completer that is given every bare prompt as the user's turn of a chat."""

    def __init__(self, completer: Completer) -> None:
        self.completer, self.name = completer, completer.name

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        """One completion per prompt, in order."""
        chats = [[Message("user", prompt)] if isinstance(prompt, str) else prompt for prompt in prompts]
        return self.completer.complete(chats, settings, on_progress)


def _with_path(cfg: DictConfig, path: str, option: str) -> DictConfig:
    """The configuration with other weights, without the adapter of the old ones."""
    if not Path(path).expanduser().exists():
        raise ConfigError(
            f"{option}={path} is neither a model folder or .gguf file that exists nor an address that begins with "
            f"http:// or https://. Correct it, or leave it out to ask the model of model=."
        )
    local = cfg.copy()
    with open_dict(local):
        local.model.path, local.model.adapter = str(path), None
    return local


def completion_settings(node: Mapping[str, Any]) -> CompletionSettings:
    """Decoding settings of a section.

    Raises:
        ConfigError: a setting that there is none of.
    """
    values = dict(node)
    try:
        return CompletionSettings(**(values | {"stop": tuple(values.get("stop") or ())}))
    except TypeError:
        known = ", ".join(field.name for field in dataclasses.fields(CompletionSettings))
        raise ConfigError(f"{', '.join(values)} are not all settings of decoding; these are: {known}.") from None
