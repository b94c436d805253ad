"""Answers of models that cannot go on with many rows (encoder-decoders, GLM), and of beam search: one at a time, by the sampler."""

from __future__ import annotations

import threading
from dataclasses import replace

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria

from kinnari.errors import ConfigError
from kinnari.generation import sampler
from kinnari.models.head import base_model_of
from kinnari.serving.chat_model import RequestRefusedError
from kinnari.serving.served_row import ServedRow, penalties_of
from kinnari.text.batches import pad_rows

_SEEDED = threading.Lock()  # the sampler seeds torch for the whole process: two engines must not draw from one another


def answer_alone(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, row: ServedRow) -> None:
    """Write the whole answer of `row`, token by token; the best beam at the end under beam search."""
    seq2seq = bool(base_model_of(model).config.is_encoder_decoder)
    begin = 1 if seq2seq else pad_rows([row.prompt], 0, left=True)[0].shape[1]
    penalties = penalties_of(row.request, begin)
    try:
        with _SEEDED:
            answers = sampler.generate(
                model,
                tokenizer,
                [row.prompt],
                replace(row.settings, batch_size=1),
                seed=row.request.seed,
                stop_id=row.stop_id,
                logits_processors=[] if penalties is None else [penalties],
                stopping_criteria=[_Follow(row, begin)],
            )
    except ConfigError as problem:
        row.fail(RequestRefusedError(str(problem)))
        return
    for token in answers[0].token_ids[len(row.said) :]:
        if row.ended:
            return
        row.take(token)
    row.give_up()


class _Follow(StoppingCriteria):
    """Hands each token on as it comes, and ends the answer where the row ends."""

    def __init__(self, row: ServedRow, begin: int) -> None:
        self.row, self.seen = row, begin

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        """[B] bool; B is the number of beams, of which none is the answer before all are complete."""
        if self.row.settings.num_beams == 1:
            for token in input_ids[0, self.seen :].tolist():
                if not self.row.ended:
                    self.row.take(token)
            self.seen = input_ids.shape[1]
        done = self.row.give_up()
        return torch.full((len(input_ids),), done, dtype=torch.bool, device=input_ids.device)
