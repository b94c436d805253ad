"""One request from the moment it is accepted to the end of its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.generation import sampler
from kinnari.generation.penalties import Penalties
from kinnari.generation.settings import GenerationSettings
from kinnari.generation.start_script import StartInScript
from kinnari.models.head import base_model_of
from kinnari.serving.answer_stream import AnswerStream
from kinnari.serving.chat_model import ChatRequest, FinishReason, PromptTooLongError, RequestRefusedError
from kinnari.serving.incremental_text import IncrementalText
from kinnari.serving.running_rows import PartlyRead
from kinnari.serving.token_choice import TokenChoice
from kinnari.text.template import Renderer


class ServedRow:
    """The prompt, how tokens are chosen, the text that came of them.

    Args:
        request: as it came.
        prompt: token ids.
        settings: `max_new_tokens` fits into what the prompt leaves.
        choice: of the next token; unused where the sampler answers the row.
        text: of the answer.
        end_ids: tokens that end it.
        stop_id: the one of them that is the template's.
        stream: what the asker reads.

    Attributes:
        said: tokens of the answer so far, without the one that ends it.
        reading: the prompt on its way into a cache.
        ended: nothing more is written.
    """

    def __init__(
        self,
        request: ChatRequest,
        prompt: list[int],
        settings: GenerationSettings,
        *,
        choice: TokenChoice,
        text: IncrementalText,
        end_ids: Sequence[int],
        stop_id: int | None,
        stream: AnswerStream,
    ) -> None:
        self.request, self.prompt, self.settings, self.choice, self.text = request, prompt, settings, choice, text
        self.end_ids, self.stop_id, self.stream = frozenset(end_ids), stop_id, stream
        self.said: list[int] = []
        self.reading = PartlyRead(prompt)
        self.ended = False

    @property
    def tokens(self) -> int:
        """Most columns of a cache that the row will fill."""
        return len(self.prompt) + self.settings.max_new_tokens

    def choose(self, logits: Tensor) -> int:
        """The next token out of its logits [V]."""
        return self.choice(logits, self.said)

    def take(self, token: int) -> None:
        """One more token of the answer: its text goes out, and the answer ends where it ends."""
        self.stream.completion_tokens += 1
        if token in self.end_ids:
            self._end("stop")
            return
        self.said.append(token)
        self.stream.write(self.text.add(token))
        if self.text.stopped:
            self._end("stop")
        elif len(self.said) >= self.settings.max_new_tokens:
            self._end("length")

    def give_up(self) -> bool:
        """Whether nobody waits any more: cancelled, or too late, which the asker is told."""
        if not self.ended and self.stream.cancelled:
            self.ended = True
            self.stream.end("cancelled")
        elif not self.ended and self.stream.late:
            self.fail(self.stream.too_late())
        return self.ended

    def fail(self, error: RequestRefusedError) -> None:
        """The answer ends here; the asker is told why."""
        if not self.ended:
            self.ended = True
            self.stream.fail(error)

    def _end(self, reason: FinishReason) -> None:
        self.ended = True
        self.stream.write(self.text.finish())
        self.stream.end(reason)


def penalties_of(request: ChatRequest, begin: int) -> Penalties | None:
    """The penalties of a request whose answer begins in column `begin`; None where it asks for none."""
    if not (request.frequency_penalty or request.presence_penalty or request.logit_bias):
        return None
    return Penalties(begin, frequency=request.frequency_penalty, presence=request.presence_penalty, logit_bias=request.logit_bias)


class RowMaker:
    """Requests -> rows, for one model. Not for two threads at once: tokenizers keep settings in themselves.

    Args:
        model, tokenizer, template: as for `kinnari.generation.sampler`.
        timeout_s: seconds until an answer must be finished.
        most_tokens: of a prompt with its answer, where the model's positions allow more; None for no limit but theirs.

    Raises:
        ConfigError: the template ends answers with something that is no token.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer,
        *,
        timeout_s: float,
        most_tokens: int | None = None,
    ) -> None:
        self.model, self.tokenizer, self.template, self.timeout_s = model, tokenizer, template, timeout_s
        base = base_model_of(model)
        self.seq2seq = bool(base.config.is_encoder_decoder)
        self.stop_id = sampler.answer_end(tokenizer, template, seq2seq=self.seq2seq)
        self.device: torch.device = base.get_input_embeddings().weight.device  # type: ignore[assignment]
        positions = sampler.longest_prompt(model, GenerationSettings(max_new_tokens=1))
        limits = [limit for limit in (positions, most_tokens and most_tokens - 1) if limit is not None]
        self.longest_prompt = min(limits, default=None)
        self._starts: dict[str, StartInScript] = {}

    def row(self, request: ChatRequest) -> ServedRow:
        """Raises RequestRefusedError: nothing to answer, text that no tokenizer can read; PromptTooLongError."""
        prompt = self._prompt_ids(request)
        settings = self._fitted(request.settings, prompt)
        stop_id = self.stop_id if request.prompt is None else None  # bare text has no turns that end
        end_ids = sampler.end_ids(self.model, self.tokenizer, stop_id)
        start = self._start(settings.start_script) if settings.start_script else None
        penalties = penalties_of(request, len(prompt))
        choice = TokenChoice(settings, prompt, end_ids, seed=request.seed, start=start, penalties=penalties, device=self.device)
        text = IncrementalText(self.tokenizer, request.stop)
        stream = AnswerStream(len(prompt), self.timeout_s)
        return ServedRow(request, prompt, settings, choice=choice, text=text, end_ids=end_ids, stop_id=stop_id, stream=stream)

    def _prompt_ids(self, request: ChatRequest) -> list[int]:
        if request.prompt is None and not request.messages:
            raise RequestRefusedError("The request has neither messages nor a prompt; give one of them.")
        try:
            if request.prompt is None:
                ids = sampler.chat_prompts(self.tokenizer, self.template, [request.messages], seq2seq=self.seq2seq)[0]
            else:
                # Special tokens as the tokenizer adds them by itself (a BOS), none out of the text.
                ids = list(self.tokenizer(request.prompt, split_special_tokens=True)["input_ids"])
        except (ConfigError, UnicodeEncodeError, TypeError) as problem:
            raise RequestRefusedError(f"The model's template or tokenizer cannot read this: {problem}") from problem
        if not ids:
            raise RequestRefusedError("The prompt has no token; write a question.")
        return ids

    def _fitted(self, settings: GenerationSettings, prompt: list[int]) -> GenerationSettings:
        """The settings with as many tokens as the prompt leaves room for."""
        most = self.longest_prompt
        if most is None:
            return settings
        if len(prompt) > most:
            raise PromptTooLongError(
                f"The prompt has {len(prompt)} tokens, and this model's context length is {most + 1} with the answer. "
                "Shorten the prompt, or begin a new conversation."
            )
        room = settings.max_new_tokens if self.seq2seq else min(settings.max_new_tokens, most + 1 - len(prompt))
        return replace(settings, max_new_tokens=room, min_new_tokens=min(room, settings.min_new_tokens))

    def _start(self, script: str) -> StartInScript:
        if script not in self._starts:
            try:
                self._starts[script] = StartInScript(self.tokenizer, script)
            except ConfigError as problem:
                raise RequestRefusedError(str(problem)) from problem
        return self._starts[script]
