"""A model in this process, through the one sampler: bare text is continued, chats are answered through a template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from kinnari.completion.completer import Completion, CompletionSettings, Prompt
from kinnari.errors import ConfigError
from kinnari.generation import sampler
from kinnari.generation.penalties import Penalties
from kinnari.generation.settings import GenerationSettings
from kinnari.text.batches import pad_rows
from kinnari.text.template import Renderer


class LocalCompleter:
    """Asks a loaded model.

    Args:
        model: causal or seq2seq, in eval mode; a folder becomes one with `kinnari.models.load.load_model`.
        tokenizer: that of the model.
        template: how chats are rendered; None for a completer of bare text alone.
        name: recorded beside the results.
        batch_size: prompts answered together.
        synced: the weights are sharded over ranks, which must all ask the same, see `kinnari.generation.sampler.generate`.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer | None = None,
        *,
        name: str,
        batch_size: int = 8,
        synced: bool = False,
    ) -> None:
        self.model, self.tokenizer, self.template, self.name, self.batch_size = model, tokenizer, template, name, batch_size
        self.synced = synced
        seq2seq = bool(model.config.is_encoder_decoder)
        self.stop_id = None if template is None else sampler.answer_end(tokenizer, template, seq2seq=seq2seq)

    def complete(
        self, prompts: Sequence[Prompt], settings: CompletionSettings, on_progress: Callable[[int], None] = lambda done: None
    ) -> list[Completion]:
        """One completion per prompt, in order; a prompt that fills the model's positions yields `failed`.

        `on_progress` is told how many are done, after every token too, so that a display can show that work goes on.
        `max_tokens` is lowered for a prompt that leaves less room. Temperature 0 is greedy decoding.

        Raises:
            ConfigError: a chat without a template.
        """
        ids = self._prompt_ids(prompts)
        answers_chats = any(not isinstance(prompt, str) for prompt in prompts)
        done: dict[int, Completion] = {}
        for room, members in sorted(self._by_room(ids, settings).items(), reverse=True):
            if room < 1:
                done |= {i: Completion("", "failed", f"the prompt has {len(ids[i])} tokens, which leave no room") for i in members}
                continue
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                tell = partial(on_progress, len(done))
                seed = (settings.seed or 0) + len(done)
                answers = self._sample([ids[i] for i in batch], settings, room, seed, tell, self._stop_id(answers_chats))
                done |= {i: _cut_at_stop(answer, settings.stop) for i, answer in zip(batch, answers, strict=True)}
                on_progress(len(done))
        on_progress(len(done))
        return [done[i] for i in range(len(prompts))]

    def _sample(
        self, prompts: list[list[int]], settings: CompletionSettings, room: int, seed: int, tell: Callable[[], None], stop_id: int | None
    ) -> list[sampler.Answer]:
        """One batch. Generated tokens begin behind the prompts as the sampler pads them, or behind the decoder's start token."""
        begin = 1 if self.model.config.is_encoder_decoder else pad_rows(prompts, 0)[0].shape[1]
        penalised = settings.presence_penalty or settings.frequency_penalty or settings.logit_bias
        penalties = Penalties(
            begin, frequency=settings.frequency_penalty, presence=settings.presence_penalty, logit_bias=settings.logit_bias
        )
        return sampler.generate(
            self.model,
            self.tokenizer,
            prompts,
            replace(_generation_settings(settings), max_new_tokens=room, batch_size=len(prompts)),
            seed=seed,
            synced=self.synced,
            stop_id=stop_id,
            logits_processors=[penalties] if penalised else [],
            stopping_criteria=[_StopStrings(self.tokenizer, settings.stop, begin, tell)],
        )

    def _stop_id(self, chats: bool) -> int | None:
        """The token that ends answers of the template; bare text has none but the tokenizer's EOS."""
        if not chats or self.template is None:
            return None
        return sampler.answer_end(self.tokenizer, self.template, seq2seq=bool(self.model.config.is_encoder_decoder))

    def _by_room(self, ids: list[list[int]], settings: CompletionSettings) -> dict[int, list[int]]:
        """Prompts by the number of tokens their answer may have."""
        most = sampler.longest_prompt(self.model, GenerationSettings(max_new_tokens=1))
        seq2seq = bool(self.model.config.is_encoder_decoder)
        groups: dict[int, list[int]] = {}
        for i, prompt in enumerate(ids):
            free = settings.max_tokens if most is None or (seq2seq and len(prompt) <= most) else most + 1 - len(prompt)
            groups.setdefault(max(0, min(settings.max_tokens, free)) if prompt else 0, []).append(i)
        return groups

    def _prompt_ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        chats = [(i, list(p)) for i, p in enumerate(prompts) if not isinstance(p, str)]
        if chats and self.template is None:
            raise ConfigError(f"{self.name} was loaded without a template and given a chat; give one with model/template=.")
        rendered: list[list[int]] = []
        if chats and self.template is not None:
            seq2seq = bool(self.model.config.is_encoder_decoder)
            rendered = sampler.chat_prompts(self.tokenizer, self.template, [chat for _, chat in chats], seq2seq=seq2seq)
        found = {i: row for (i, _), row in zip(chats, rendered, strict=True)}
        # Special tokens as the tokenizer adds them by itself (a BOS), none out of the text.
        found |= {i: list(self.tokenizer(p, split_special_tokens=True)["input_ids"]) for i, p in enumerate(prompts) if isinstance(p, str)}
        return [found[i] for i in range(len(prompts))]


def _generation_settings(settings: CompletionSettings) -> GenerationSettings:
    if settings.temperature <= 0:
        return GenerationSettings()
    return GenerationSettings(do_sample=True, temperature=settings.temperature, top_p=settings.top_p)


def _cut_at_stop(answer: sampler.Answer, stops: Sequence[str]) -> Completion:
    """The text before the first stop string."""
    ends = [answer.text.index(stop) for stop in stops if stop in answer.text]
    if ends:
        return Completion(answer.text[: min(ends)], "stop")
    return Completion(answer.text, "stop" if answer.finished else "length")


class _StopStrings(StoppingCriteria):
    """A row is done once its last tokens hold a stop string; the batch goes on until all are. Tells after each token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], begin: int, tell: Callable[[], None]) -> None:
        self.tokenizer, self.stops, self.begin, self.tell = tokenizer, tuple(stops), begin, tell
        # No token is less than a byte, so the last token completes a stop string within this many.
        self.tail = max(len(stop.encode("utf-8", "replace")) for stop in stops) + 4 if stops else 0

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """[B] bool. The prompt, whose own text may hold a stop string, is not looked at."""
        self.tell()
        if not self.stops:
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        recent = input_ids[:, max(self.begin, input_ids.shape[1] - self.tail) :]
        texts = self.tokenizer.batch_decode(recent.tolist(), skip_special_tokens=True)
        return torch.tensor([any(stop in text for stop in self.stops) for text in texts], device=input_ids.device)
