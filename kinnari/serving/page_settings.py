"""The settings beside the chat: system prompt, sampling, history, language of the answer; and the request they make."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import gradio

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.generation.start_script import SCRIPTS
from kinnari.serving.chat_model import ChatRequest
from kinnari.serving.exchanges import Exchange, messages_for
from kinnari.serving.feedback import Given
from kinnari.serving.page_labels import Labels
from kinnari.serving.page_texts import TEXTS

_SCRIPT_NAMES = {code: texts.name for code, texts in TEXTS.items()} | {"ja": "日本語"}
_LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Chosen:
    """What stands in the fields, in the order of `settings_fields`, as they hand it over.

    Attributes:
        seed: a number; empty for a new one.
        stop: one text a line.
    """

    system: str
    history: float
    start_script: str | None
    temperature: float
    top_p: float
    top_k: float
    repetition_penalty: float
    max_new_tokens: float
    seed: str
    stop: str

    def request(self, base: GenerationSettings, earlier: Sequence[Exchange], question: str) -> ChatRequest:
        """Raises ConfigError: a value out of its range."""
        sampling: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 0}
        if self.temperature:
            sampling = {"do_sample": True, "temperature": float(self.temperature), "top_p": float(self.top_p), "top_k": int(self.top_k)}
        most = int(self.max_new_tokens)
        settings = replace(
            base,
            **sampling,
            repetition_penalty=float(self.repetition_penalty),
            max_new_tokens=most,
            min_new_tokens=min(base.min_new_tokens, most),
            start_script=self.start_script or None,
        )
        return ChatRequest(
            messages=messages_for(earlier, question, system=self.system, history=int(self.history)),
            settings=settings,
            seed=self._seed(),
            stop=tuple(line for line in self.stop.splitlines() if line.strip()),
        )

    def _seed(self) -> int:
        written = self.seed.strip()
        if not written:
            return secrets.randbelow(_LARGEST_SEED)
        if not written.isdecimal() or int(written) > _LARGEST_SEED:
            raise ConfigError(f"The seed {written[:40]!r} must be a whole number from 0 to {_LARGEST_SEED}; empty is a new one each time.")
        return int(written)


def given(model: str, request: ChatRequest, answer: str) -> Given:
    """An answer with all that led to it."""
    settings = asdict(request.settings) | {"seed": request.seed, "stop": list(request.stop)}
    return Given(model=model, messages=request.messages, settings=settings, answer=answer)


def settings_fields(labels: Labels, base: GenerationSettings, *, history: int, system: str, most_new_tokens: int) -> list[Any]:
    """The fields, in the order of `Chosen`; to be called where they are to stand."""
    system_field = gradio.Textbox(system, lines=2, max_lines=8, elem_id="system")
    labels.add(system_field, label="system", info="system_hint")
    script = gradio.Dropdown([("", ""), *SCRIPTS], value=base.start_script or "", elem_id="start-script")
    labels.add_computed(script, lambda texts: {
        "label": texts.start_script, "info": texts.start_script_hint,
        "choices": [(texts.any_script, ""), *((_SCRIPT_NAMES[code], code) for code in SCRIPTS)],
    })  # fmt: skip
    fields = {
        "history": gradio.Slider(0, max(10, history), value=history, step=1, elem_id="history"),
        "start_script": script,
        "temperature": gradio.Slider(0, 2, value=base.temperature if base.do_sample else 0, step=0.05, elem_id="temperature"),
        "top_p": gradio.Slider(0.05, 1, value=base.top_p, step=0.05, elem_id="top-p"),
        "top_k": gradio.Slider(0, max(200, base.top_k), value=base.top_k, step=1, elem_id="top-k"),
        "repetition_penalty": gradio.Slider(1, max(2, base.repetition_penalty), value=base.repetition_penalty, step=0.05),
        "max_new_tokens": gradio.Slider(1, most_new_tokens, value=base.max_new_tokens, step=1, elem_id="max-new-tokens"),
        "seed": gradio.Textbox("", max_lines=1, elem_id="seed"),  # a gradio.Number hands over 0 where it is empty (6.31)
        "stop": gradio.Textbox("", lines=1, max_lines=6, elem_id="stop-texts"),
    }
    labels.add(fields["history"], label="history", info="history_hint")
    labels.add(fields["temperature"], label="temperature", info="temperature_hint")
    labels.add(fields["top_p"], label="top_p")
    labels.add(fields["top_k"], label="top_k", info="top_k_hint")
    labels.add(fields["repetition_penalty"], label="repetition_penalty")
    labels.add(fields["max_new_tokens"], label="max_new_tokens")
    labels.add(fields["seed"], label="seed", info="seed_hint")
    labels.add(fields["stop"], label="stop_texts", info="stop_texts_hint")
    return [system_field, *fields.values()]
