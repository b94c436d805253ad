"""A model that sits benchmarks: questions in, outcomes out, wherever the model is (a folder, an adapter, a training run)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.completion.completer import CompletionSettings
from kinnari.completion.local import LocalCompleter
from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import CMRC2018, Benchmark, ChoiceBenchmark, ReadingQuestion
from kinnari.evaluation.likelihood import LikelihoodCache, LikelihoodScorer
from kinnari.evaluation.likelihood.ranks import score_over_ranks
from kinnari.evaluation.likelihood.scorer import is_sharded
from kinnari.evaluation.outcome import Outcome, choices, reading
from kinnari.evaluation.question import Likelihood, Question
from kinnari.evaluation.scoring import WANTED
from kinnari.strategies.microbatches import gather_objects
from kinnari.text.conversation import Message
from kinnari.text.template import Renderer

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """A benchmark with its questions, made before a model is loaded.

    Attributes:
        benchmark: where they came from.
        questions: to be scored, or answered in words where the benchmark is one of reading.
    """

    benchmark: Benchmark
    questions: Sequence[Question] | Sequence[ReadingQuestion]


def examination(benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Examination:
    """Read a benchmark's files.

    Args:
        max_length: tokens that the model takes: a question with shots that would be longer gets fewer of them; None for no limit.

    Raises:
        ConfigError: a file is missing or not in the public layout, or the settings cannot be met.
    """
    assert isinstance(benchmark, ChoiceBenchmark | CMRC2018), f"{type(benchmark).__name__} is no benchmark"
    return Examination(benchmark=benchmark, questions=benchmark.questions(lambda text: len(tokenizer(text)["input_ids"]), max_length))


@dataclass(kw_only=True)
class Examinee:
    """Answers examinations with one model, together with the other ranks where there are some.

    Attributes:
        model: causal, encoder-decoder or GLM-chinese, bare or in PEFT; whole on every rank, or sharded over them.
        tokenizer: that of the model.
        template: renders chats; None asks with bare text.
        token_budget: padded tokens of one forward; None for what suits the device.
        max_length: tokens of the longest text; None for what the model was made for.
        cache: where numbers are kept; None keeps none.
        calibration: none | prior.
        seed: of the bootstrap.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    template: Renderer | None = None
    token_budget: int | None = None
    max_length: int | None = None
    cache: LikelihoodCache | None = None
    calibration: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.calibration not in ("none", "prior"):
            raise ConfigError(f"benchmark.calibration={self.calibration} is unknown; choose none or prior.")

    def sit(self, exam: Examination, on_progress: Progress = lambda done: None) -> Outcome:
        """One benchmark; under ranks every rank takes a part and gets the outcome of all.

        Args:
            exam: the benchmark.
            on_progress: called with the number of questions that are done.

        Raises:
            ConfigError: a question that this model cannot be asked.
        """
        if isinstance(exam.benchmark, ChoiceBenchmark):
            questions: Any = exam.questions
            found = self._likelihoods(exam.benchmark, questions, on_progress)
            return choices(exam.benchmark, questions, found, calibration=self.calibration, seed=self.seed)
        assert isinstance(exam.benchmark, CMRC2018)
        asked: Any = exam.questions
        said = self._answers(exam.benchmark, asked, on_progress)
        majority, shots = exam.benchmark.majority(asked), exam.benchmark.shots
        return reading(exam.benchmark.name, asked, said, majority, self._ids, shots=shots, seed=self.seed)

    def _likelihoods(self, benchmark: ChoiceBenchmark, questions: Sequence[Question], on_progress: Progress) -> list[list[Likelihood]]:
        scorer = LikelihoodScorer(
            self.model,
            self.tokenizer,
            template=self.template,
            wanted=WANTED[benchmark.chosen_scoring],
            token_budget=self.token_budget,
            max_length=self.max_length,
            cache=self.cache,
        )
        return score_over_ranks(scorer, questions, on_progress)

    def _answers(self, benchmark: CMRC2018, questions: Sequence[ReadingQuestion], on_progress: Progress) -> list[str]:
        sharded = is_sharded(self.model)
        completer = LocalCompleter(self.model, self.tokenizer, self.template, name="model", synced=sharded)
        prompts = [q.prompt if self.template is None else [Message("user", q.prompt)] for q in questions]
        settings = CompletionSettings(max_tokens=benchmark.max_new_tokens, temperature=0.0, stop=(benchmark.stop,))
        joined = dist.is_available() and dist.is_initialized() and not sharded  # with shards every forward is one of all ranks
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
        mine = completer.complete(prompts[rank::ranks], settings, lambda done: on_progress(min(done * ranks, len(prompts))))
        said = [completion.text.strip() for completion in mine]
        if ranks == 1:
            return said
        shares = gather_objects(said)
        return [shares[i % ranks][i // ranks] for i in range(len(prompts))]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
