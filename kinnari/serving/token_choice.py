"""The next token of one row, out of its logits: penalties, temperature, top-k, top-p and the draw, each request with its own.

They are transformers' own processors in the order of its `generate`, and a draw from a generator that starts at the request's seed.
So a request that is answered among others gets the tokens that `kinnari.generation.sampler.generate` gives it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from kinnari.generation.penalties import Penalties
from kinnari.generation.settings import GenerationSettings
from kinnari.generation.start_script import StartInScript


class TokenChoice:
    """How the tokens of one request are chosen.

    Args:
        settings: of the request; `num_beams` is not looked at.
        prompt: its token ids.
        end_ids: tokens that end an answer.
        seed: of the draws.
        start: forbids tokens while the answer does not begin in its script; shared by rows, None for any beginning.
        penalties: of what the answer holds already, None for none.
        device: of the logits.
    """

    def __init__(
        self,
        settings: GenerationSettings,
        prompt: Sequence[int],
        end_ids: Sequence[int],
        *,
        seed: int,
        start: StartInScript | None = None,
        penalties: Penalties | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.prompt_tokens, self.start, self.do_sample = len(prompt), start, settings.do_sample
        self.processors = _processors(settings, len(prompt), list(end_ids), [p for p in (start, penalties) if p is not None], device)
        self.generator = torch.Generator(device).manual_seed(seed) if settings.do_sample else None
        self._ids = torch.tensor([list(prompt)], dtype=torch.int64, device=device)

    @property
    def most_likely(self) -> bool:
        """The token is the largest logit as it stands, so that many rows can be looked at together."""
        return not self.do_sample and not self.processors

    def __call__(self, logits: Tensor, said: Sequence[int]) -> int:
        """The next token.

        Args:
            logits: [V], any float dtype.
            said: tokens of the answer so far.
        """
        answer = torch.tensor([list(said)], dtype=torch.int64, device=logits.device)
        ids: Any = torch.cat([self._ids.to(logits.device), answer], dim=1)
        if self.start is not None:
            self.start.begin = self.prompt_tokens
        scores: Any = logits.to(torch.float32, copy=True)[None]
        scores = self.processors(ids, scores)
        if not self.do_sample:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=self.generator))


def _processors(
    settings: GenerationSettings, prompt_tokens: int, end_ids: list[int], own: list[LogitsProcessor], device: torch.device | str
) -> LogitsProcessorList:
    """The order of `GenerationMixin._get_logits_processor` of transformers 5.23."""
    chosen: list[LogitsProcessor] = []
    if settings.repetition_penalty != 1.0:
        chosen.append(RepetitionPenaltyLogitsProcessor(float(settings.repetition_penalty)))
    if settings.no_repeat_ngram_size:
        chosen.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.min_new_tokens:
        chosen.append(MinNewTokensLengthLogitsProcessor(prompt_tokens, settings.min_new_tokens, end_ids, device=str(device)))
    chosen += own
    if settings.do_sample:
        if settings.temperature != 1.0:
            chosen.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            chosen.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1.0:
            chosen.append(TopPLogitsWarper(settings.top_p))
    return LogitsProcessorList(chosen)
