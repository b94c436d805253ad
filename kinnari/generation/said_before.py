"""Rules by what a row holds already, the prompt among it: the repetition penalty, and n-grams that must not come again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from kinnari.generation.settings import GenerationSettings


class SaidBefore(LogitsProcessor):
    """transformers' own two rules, each row without the padding on its left.

    transformers' `generate` takes pad tokens for said: for the n-grams in 5.23, under the penalty too in 5.20. Where EOS pads, the
    shorter rows of a batch could then hardly end, or not at all.

    Args:
        settings: `repetition_penalty` and `no_repeat_ngram_size` are looked at.

    Attributes:
        padding: [B] int64, tokens on the left of each row that are none of it; the sampler says it for each batch.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self.penalty, self.ngram = float(settings.repetition_penalty), settings.no_repeat_ngram_size
        self.padding = torch.zeros(1, dtype=torch.int64)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B x beams, V], a row's beams side by side; float32."""
        ids: Any = input_ids
        given: Any = scores
        padding = self.padding.repeat_interleave(len(ids) // len(self.padding))
        if self.penalty != 1.0:
            given = RepetitionPenaltyLogitsProcessor(self.penalty, prompt_ignore_length=padding)(ids, given)
        if self.ngram:
            rule = NoRepeatNGramLogitsProcessor(self.ngram)  # which goes through the rows one by one, too
            given = torch.cat([rule(ids[i : i + 1, start:], given[i : i + 1]) for i, start in enumerate(padding.tolist())])
        return given
