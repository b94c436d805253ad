"""Questions -> answers of the model of model=, one by one on the disk: what a kill leaves is not asked again, and a question that
cannot be answered says why and stops no other.

    questions -> template -> token ids -> known? -> longest first, a few batches at a time -> saved -> answers in the order of the questions
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from kinnari.generation import sampler
from kinnari.models.cache import store_file
from kinnari.models.fingerprint import model_fingerprint
from kinnari.tasks import build
from kinnari.text.content_store import ContentStore, content_key
from kinnari.text.conversation import Message
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)

BATCHES_AT_ONCE = 4  # answered before they are saved; what a kill can cost


@dataclass(frozen=True)
class Answered:
    """What came of a question; `text` is None where `error` says why."""

    text: str | None
    finished: bool = False
    error: str | None = None


class Answerer:
    """The model of a configuration, its template and decoding.

    Args:
        cfg: the whole configuration.
        store: where answers are kept; None keeps none.
    """

    def __init__(self, cfg: DictConfig, store: ContentStore | None = None) -> None:
        self.model, self.tokenizer = build.load_for_inference(cfg)
        self.settings, self.seed, self.store = build.generation_settings(cfg), int(cfg.seed), store
        self.seq2seq = bool(self.model.config.is_encoder_decoder)
        self.template = build.template(cfg, self.tokenizer)
        self.stop = sampler.answer_end(self.tokenizer, self.template, seq2seq=self.seq2seq)
        self.maker = "" if store is None else model_fingerprint(self.model)
        self.asked = 0  # answers that were not on the disk

    def __call__(self, questions: Sequence[str]) -> list[Answered]:
        """One for each question, in order."""
        prompts = sampler.chat_prompts(
            self.tokenizer, self.template, [[Message("user", question)] for question in questions], seq2seq=self.seq2seq
        )
        done: dict[int, Answered] = {}
        for i, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
            problem = self._problem(question, prompt)
            if problem is not None:
                done[i] = Answered(None, error=problem)
        keys = {i: self._key(prompts[i]) for i in range(len(prompts)) if i not in done}
        if self.store is not None:
            stored = self.store.find(list(set(keys.values())))
            done |= {i: Answered(**stored[key]) for i, key in keys.items() if key in stored}
        first = {key: i for i, key in reversed(keys.items()) if i not in done}  # a question that occurs twice is asked once
        waiting = sorted(first.values(), key=lambda i: -len(prompts[i]))
        self.asked += len(waiting)
        new = self._ask(waiting, prompts, keys)
        done |= {i: new[first[key]] for i, key in keys.items() if i not in done}
        return [done[i] for i in range(len(prompts))]

    def _ask(self, waiting: Sequence[int], prompts: Sequence[list[int]], keys: dict[int, bytes]) -> dict[int, Answered]:
        new: dict[int, Answered] = {}
        step = BATCHES_AT_ONCE * self.settings.batch_size
        with progress_line("answering", len(waiting)) as advance:
            for start in range(0, len(waiting), step):
                some = waiting[start : start + step]
                answers = self._some([prompts[i] for i in some], lambda n, before=start: advance(before + n))  # type: ignore[misc]
                new |= dict(zip(some, answers, strict=True))
                if self.store is not None:
                    self.store.save(self.maker, [(keys[i], dataclasses.asdict(new[i])) for i in some if new[i].error is None])
                advance(len(new))
        return new

    def _some(self, prompts: Sequence[list[int]], on_progress: Callable[[int], None]) -> list[Answered]:
        """A few batches; where memory is too short for one, its questions are asked alone."""
        try:
            said = sampler.generate(
                self.model, self.tokenizer, prompts, self.settings, seed=self.seed, stop_id=self.stop, on_progress=on_progress
            )
            return [Answered(answer.text, answer.finished) for answer in said]
        except (torch.OutOfMemoryError, MemoryError) as problem:
            if len(prompts) == 1:
                log.warning("a question of %d tokens could not be answered: out of memory", len(prompts[0]))
                return [Answered(None, error=f"out of memory: {str(problem)[:200]}")]
        log.warning("out of memory with %d questions at a time: they are asked one by one", self.settings.batch_size)
        return [self._some([prompt], lambda n: None)[0] for prompt in prompts]

    def _problem(self, question: str, prompt: list[int]) -> str | None:
        most = sampler.longest_prompt(self.model, self.settings)
        if not question.strip():
            return "the question is empty"
        if most is not None and len(prompt) > most:
            room = f"with generation.max_new_tokens={self.settings.max_new_tokens} the model's positions hold {most}"
            return f"the prompt has {len(prompt)} tokens; {room}"
        return None

    def _key(self, prompt: list[int]) -> bytes:
        decoding = dataclasses.asdict(self.settings) | ({} if self.settings.do_sample else {"batch_size": None})
        return content_key(self.maker, [prompt, decoding, self.stop, self.seed if self.settings.do_sample else None])


def answer_store(path: str | None, use: bool) -> ContentStore | None:
    """Where answers are kept: a file of the user's, else answers.sqlite in `$KINNARI_CACHE` or ~/.cache/kinnari; None without a cache."""
    if not use:
        return None
    return ContentStore(path or store_file("answers.sqlite"), "generate.cache_file")
