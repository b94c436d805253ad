"""A causal model that goes on with many rows at once, rows joining and leaving between steps.

    read(row)    the prompt, a few hundred tokens a call, so that those who run need not wait for a long one
    join(row)    the row that was read stands beside the others
    step(tokens) one token of every row in, the logits of the next out
    leave(row)

transformers 5.23 has continuous batching of its own (`generate_batch`), which is not used: its requests share one random generator,
repetition penalty and forbidden n-grams are dropped from them, and its paged attention computes no ALiBi (BLOOM, Falcon) and no
attention of a model's own (XGLM here, Pangu, GLM).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from kinnari.models.backbone import base_model_of
from kinnari.serving.rows_cache import RowsCache

CLOSE = 1e-3  # gap of logits, as a share of their standard deviation, where weights are float32
CLOSE_HALF = 0.2  # of 16-bit and quantised weights


class PartlyRead:
    """A prompt on its way into a cache of its own.

    Args:
        prompt: token ids.

    Attributes:
        done: tokens that were read.
        cache: their keys and values; plain layers, of sliding windows too, so that rows of all lengths fit together.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt, self.done = list(prompt), 0
        self.cache = DynamicCache()


class RunningRows:
    """The model and the cache of the rows that run.

    Args:
        model: causal, in eval mode, bare or in PEFT.
    """

    def __init__(self, model: PreTrainedModel | PeftModel) -> None:
        self.model, self.cache = model, RowsCache()
        self.lengths: list[int] = []  # tokens of each row so far
        base: Any = base_model_of(model)
        self.device = base.get_input_embeddings().weight.device
        names = inspect.signature(base.forward).parameters
        self._positions = "position_ids" in names
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in names else {}

    def read(self, row: PartlyRead, most: int) -> Tensor | None:
        """Read up to `most` tokens more; the logits [V] of the first token of the answer once all are read."""
        begin, end = row.done, min(len(row.prompt), row.done + most)
        inputs = {"input_ids": torch.tensor([row.prompt[begin:end]]), "attention_mask": torch.ones(1, end, dtype=torch.int64)}
        logits = self._forward(inputs, torch.arange(begin, end)[None], row.cache)
        row.done = end
        return logits[0] if end == len(row.prompt) else None

    def join(self, row: PartlyRead) -> None:
        """Add a row that was read, behind the others.

        Raises:
            TypeError: the model keeps something else than keys and values.
        """
        self.cache.join(row.cache)
        row.cache = DynamicCache()  # what was copied is freed
        self.lengths.append(len(row.prompt))

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits [rows, V] of what follows `tokens`, one of each row."""
        mask = self.cache.before_step()
        positions = torch.tensor(self.lengths)[:, None]
        logits = self._forward({"input_ids": torch.tensor(tokens)[:, None], "attention_mask": mask}, positions, self.cache)
        self.cache.after_step()
        self.lengths = [length + 1 for length in self.lengths]
        return logits

    def leave(self, row: int) -> None:
        """Forget row `row`; the last row is now row `row`."""
        self.cache.leave(row)
        last = self.lengths.pop()
        if row < len(self.lengths):
            self.lengths[row] = last

    def clear(self) -> None:
        """No row runs any more, whatever state an error left."""
        self.cache, self.lengths = RowsCache(), []

    def _forward(self, inputs: dict[str, Tensor], positions: Tensor, cache: Any) -> Tensor:
        """Logits [rows, V] of the last column, where the ids are: a model spread over devices has its head on another."""
        if self._positions:
            inputs["position_ids"] = positions
        placed = {name: value.to(self.device) for name, value in inputs.items()}
        return self.model(**placed, past_key_values=cache, use_cache=True, **self._last_only).logits[:, -1].to(self.device)


def rows_are_exact(model: PreTrainedModel | PeftModel, vocabulary: int) -> bool:
    """Whether rows that join and leave get the logits that the model gives each alone, without cache: asked of the model itself.

    A model that keeps a state, reads its prompt in both directions or finds positions in another way does not.
    """
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(min(10, vocabulary - 1), vocabulary, (length,), generator=draw).tolist() for length in (9, 6, 14)]
    exact = all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
    rows = RunningRows(model)
    try:
        with torch.inference_mode():
            for text, logits in _joined_and_left(rows, *texts):
                alone = model(input_ids=torch.tensor([text], device=rows.device), use_cache=False).logits[0, -1].float()
                gap = (alone - logits.float()).abs().max() / alone.std().clamp_min(1e-6)
                if not gap <= (CLOSE if exact else CLOSE_HALF):  # NaN is not close either
                    return False
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError, NotImplementedError, AssertionError):
        return False  # the models that are meant complain in all these ways
    return True


def _joined_and_left(rows: RunningRows, a: list[int], b: list[int], c: list[int]) -> Iterator[tuple[list[int], Tensor]]:
    """(text so far, logits of its next token): a prompt read in parts, a shorter and a longer one that join, a first row that leaves."""
    reading = PartlyRead(a[:6])
    assert rows.read(reading, 3) is None
    yield a[:6], _read(rows, reading)
    yield a[:7], rows.step([a[6]])[0]
    yield b[:3], _read(rows, PartlyRead(b[:3]))
    logits = rows.step([a[7], b[3]])
    yield from ((a[:8], logits[0]), (b[:4], logits[1]))
    yield c[:12], _read(rows, PartlyRead(c[:12]))
    logits = rows.step([a[8], b[4], c[12]])
    yield from ((a[:9], logits[0]), (b[:5], logits[1]), (c[:13], logits[2]))
    rows.leave(0)
    logits = rows.step([c[13], b[5]])
    yield from ((c, logits[0]), (b, logits[1]))


def _read(rows: RunningRows, row: PartlyRead) -> Tensor:
    logits = rows.read(row, len(row.prompt))
    assert logits is not None
    rows.join(row)
    return logits
