"""A model that answers many at once: requests wait, are read, run side by side, and each leaves when its answer ends.

    answer() -- waiting, bounded --> read, 256 tokens a turn --> running rows: one token each a turn --> pieces of text
    any thread                       `---------------------- the one thread that owns the model ----------------------'

A request's answer does not depend on who else is served: rows see themselves alone, and each draws from a generator of its own. What is
left is rounding, as in any batch. In float32 (trainer.precision=32-true) greedy answers were always those given alone; 16-bit logits are so
coarse that two tokens are often equally likely, and which of them comes depends on the number of rows.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections import deque

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.models.head import base_model_of
from kinnari.serving.alone import answer_alone
from kinnari.serving.chat_model import ChatRequest, ModelFailedError, QueueFullError, Reply
from kinnari.serving.running_rows import RunningRows, rows_are_exact
from kinnari.serving.served_row import RowMaker, ServedRow
from kinnari.text.template import Renderer

log = logging.getLogger(__name__)

CLOSING_S = 30.0  # how long the end of a running computation is waited for


class Engine:
    """A `ChatModel` over a loaded model.

    Args:
        model: causal or seq2seq, bare or in PEFT, on its devices; in eval mode from now on.
        tokenizer: that of the model.
        template: how conversations are rendered.
        name: as `/v1/models` lists it.
        max_running: rows that run side by side.
        max_waiting: requests that may wait for a place among them.
        timeout_s: seconds from a request until its answer must be finished.
        cache_tokens: most tokens of the cache, rows times the longest of them; None for no limit but rows and positions.
        read_tokens: of prompts, that are read between two tokens of those who run.

    Attributes:
        batched: rows run side by side; False where the model computes something else then, and answers one at a time.

    Raises:
        ConfigError: a model that writes no text, a template that does not fit, a number out of its range.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Renderer,
        *,
        name: str,
        max_running: int = 16,
        max_waiting: int = 64,
        timeout_s: float = 300.0,
        cache_tokens: int | None = None,
        read_tokens: int = 256,
    ) -> None:
        _check(model, max_running=max_running, max_waiting=max_waiting, timeout_s=timeout_s, cache_tokens=cache_tokens)
        self.name, self.max_running, self.max_waiting = name, max_running, max_waiting
        self.cache_tokens, self.read_tokens = cache_tokens, read_tokens
        self.model, self.tokenizer = model.eval(), tokenizer
        self._maker = RowMaker(model, tokenizer, template, timeout_s=timeout_s, most_tokens=cache_tokens)
        self.batched = not self._maker.seq2seq and rows_are_exact(model, len(tokenizer))
        if not self.batched and max_running > 1:
            log.info("%s answers one request at a time: it does not compute rows that join and leave", name)
        self._rows = RunningRows(model) if self.batched else None
        self._waiting: deque[ServedRow] = deque()
        self._running: list[ServedRow] = []
        self._reading: ServedRow | None = None
        self._alone: ServedRow | None = None
        self._tokenizing = threading.Lock()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"engine {name}", daemon=True)
        self._thread.start()

    def answer(self, request: ChatRequest) -> Reply:
        """See `ChatModel`."""
        with self._changed:
            self._check_room()  # before work goes into it
            maker = self._maker
        with self._tokenizing:
            row = maker.row(request)
        with self._changed:
            self._check_room()
            self._waiting.append(row)
            self._changed.notify()
        return row.stream

    def close(self) -> None:
        """See `ChatModel`; answers that are not finished are cut, and their askers told."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSING_S)

    def _at_work(self) -> list[ServedRow]:
        return [*self._running, *(row for row in (self._reading, self._alone) if row is not None)]

    def _check_room(self) -> None:
        if self._closing:
            raise ModelFailedError(f"{self.name} was shut down.")
        self._forget_the_gone()
        if len(self._at_work()) + len(self._waiting) >= self.max_running + self.max_waiting:
            raise QueueFullError(f"{self.name} serves {self.max_running} requests and {self.max_waiting} wait. Try again in a moment.")

    def _forget_the_gone(self) -> None:
        """Of those who wait. Not by the engine's turns alone: one of them may be a long answer of the sampler."""
        self._waiting = deque(row for row in self._waiting if not row.give_up())

    def _work(self) -> None:
        with torch.inference_mode():
            while self._wait():
                try:
                    self._turn()
                except Exception as problem:  # whatever it is: the next request may fare better
                    log.exception("%s broke down; %d requests are lost", self.name, len(self._running))
                    self._lose(problem)
        for row in [*self._at_work(), *self._waiting]:
            row.fail(ModelFailedError(f"{self.name} was shut down."))
        self._rows = None
        del self.model, self._maker
        gc.collect()

    def _wait(self) -> bool:
        """Until there is something to do; False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or bool(self._waiting or self._at_work()))
            return not self._closing

    def _turn(self) -> None:
        """Those who wait no more leave, prompts are read, everybody who runs gets one token."""
        with self._changed:
            self._forget_the_gone()
        self._leave()
        self._read()
        self._step()

    def _read(self) -> None:
        left = self.read_tokens
        while left > 0 and (self._reading is not None or self._admit()):
            row = self._reading
            assert row is not None and self._rows is not None
            if row.give_up():
                self._reading = None
                continue
            before = row.reading.done
            logits = self._read_some(self._rows, row, left)
            left -= row.reading.done - before
            if row.ended:
                self._reading = None
            elif logits is not None:
                _go_on(row, logits)
                if not row.ended:
                    self._rows.join(row.reading)
                    self._running.append(row)
                self._reading = None

    def _read_some(self, rows: RunningRows, row: ServedRow, most: int) -> torch.Tensor | None:
        try:
            return rows.read(row.reading, most)
        except (torch.OutOfMemoryError, MemoryError):
            log.warning("%s: no memory to read a prompt of %d tokens", self.name, len(row.prompt))
            row.fail(ModelFailedError("There is not enough memory for a prompt of this length. Shorten it, or try again later."))
        except Exception as problem:  # those who run are in another cache
            _fail(row, problem)
        return None

    def _admit(self) -> bool:
        """The next one in the queue is read, if there is room; those that only the sampler can answer are answered here and now."""
        while len(self._running) < self.max_running:
            with self._changed:
                row = self._waiting[0] if self._waiting else None
                alone = row is not None and (self._rows is None or row.settings.num_beams > 1)
                if row is None or (not alone and not self._fits(row)):
                    return False
                self._waiting.popleft()
            if not alone:
                self._reading = row
                return True
            self._alone = row
            if not row.give_up():
                answer_alone(self.model, self.tokenizer, row)
            self._alone = None
            if self._running:
                return False  # those who run have waited long enough
        return False

    def _fits(self, row: ServedRow) -> bool:
        if self.cache_tokens is None or not self._running:
            return True
        return (len(self._running) + 1) * max(r.tokens for r in [*self._running, row]) <= self.cache_tokens

    def _step(self) -> None:
        """One token of every row that runs."""
        if not self._running:
            return
        assert self._rows is not None
        logits = self._rows.step([row.said[-1] for row in self._running])
        likely = logits.argmax(dim=-1).tolist()
        for i, row in enumerate(self._running):
            _go_on(row, logits[i], likely[i] if row.choice.most_likely else None)
        self._leave()

    def _leave(self) -> None:
        for i in reversed(range(len(self._running))):
            if self._running[i].give_up():
                assert self._rows is not None
                self._rows.leave(i)
                last = self._running.pop()
                if i < len(self._running):
                    self._running[i] = last

    def _lose(self, problem: Exception) -> None:
        """What ran is lost; those who wait are served next."""
        told = _broke_down(problem)
        for row in self._at_work():
            row.fail(told)
        self._running, self._reading, self._alone = [], None, None
        if self._rows is not None:
            self._rows.clear()


def _go_on(row: ServedRow, logits: torch.Tensor, token: int | None = None) -> None:
    """One more token, chosen out of its logits [V] unless it is known; what cannot be chosen from is the end of this row alone."""
    try:
        row.take(row.choose(logits) if token is None else token)
    except Exception as problem:
        _fail(row, problem)


def _fail(row: ServedRow, problem: Exception) -> None:
    log.error("An answer was given up; the others go on", exc_info=problem)
    row.fail(_broke_down(problem))


def _broke_down(problem: Exception) -> ModelFailedError:
    return ModelFailedError(f"The model broke down while it answered ({type(problem).__name__}); try again.")


def _check(model: PreTrainedModel | PeftModel, **limits: float | None) -> None:
    base = base_model_of(model)
    if not base.can_generate():
        raise ConfigError(
            f"{type(base).__name__} writes no text: it is an encoder, or a model without a language head. Serve a causal model or an "
            "encoder-decoder."
        )
    for name, value in limits.items():
        lowest = {"max_waiting": 0, "timeout_s": 0.001}.get(name, 1)
        if value is not None and value < lowest:
            raise ConfigError(f"{name}={value} must be at least {lowest}.")
