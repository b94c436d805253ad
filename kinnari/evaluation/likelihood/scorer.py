"""Questions in, log-probabilities of their candidates out.

    scorer = LikelihoodScorer(model, tokenizer, wanted={"label"})
    answers = scorer.score(questions)                     # answers[question][candidate].label

Nothing in an answer depends on what else is scored, on its order, on `token_budget`, or on what a cache knew, up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedTokenizerBase

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood.cache import LikelihoodCache
from kinnari.evaluation.likelihood.causal import CausalEngine
from kinnari.evaluation.likelihood.encoders import (
    BlankEncoder,
    CausalEncoder,
    ChatEncoder,
    Encoder,
    Seq2SeqEncoder,
    positions_of,
)
from kinnari.evaluation.likelihood.encoding import Encoded, Piece
from kinnari.evaluation.likelihood.forward import CausalForward, abilities_of
from kinnari.evaluation.likelihood.glm import BlankEngine
from kinnari.evaluation.likelihood.seq2seq import Seq2SeqEngine
from kinnari.evaluation.likelihood.tree import Branch
from kinnari.evaluation.question import Likelihood, Question
from kinnari.models.head import base_model_of, install_loss_head
from kinnari.text.template import Renderer

log = logging.getLogger(__name__)

PARTS = ("sequence", "label", "continuation", "unconditional", "legacy")
BLOCK_CHARACTERS = 2_000_000  # questions are tokenised and planned in blocks, so that memory does not grow with their number
SAVED_TOGETHER = 32  # finished questions that go to the cache in one transaction


class Engine(Protocol):
    """Sums of log-probabilities of groups of branches, see `CausalEngine.score`."""

    def score(
        self, groups: Sequence[Sequence[Branch]], sharing: Sequence[Any], done: Callable[[int, list[list[float]]], None]
    ) -> list[list[list[float]]]: ...


class LikelihoodScorer:
    """Scores candidates with one model; it is in eval mode meanwhile and left in the mode it was in.

    Args:
        model: causal, encoder-decoder or GLM-chinese, bare or in PEFT, quantised or not. Its head becomes a `LossHead`.
        tokenizer: that of the model.
        template: ask through a chat: header and `before` are the user's turn, the label begins the assistant's. None for bare text.
        wanted: which numbers, names of `Likelihood`: sequence, label, continuation, unconditional, legacy. The fewer the faster: for
            `label` alone nothing behind the label is read, and only the label's positions go through the output head.
        token_budget: padded tokens of one forward; None for 512 on a CPU, whose caches larger ones leave, and 8,192 on a GPU.
        max_length: tokens of the longest text; None for what the model was made for. Longer ones lose their beginning, see `cut`.
        cache: where numbers are kept and looked up.

    Attributes:
        sharded: forwards are collectives (FSDP2, ZeRO-3), so that all ranks must score the same questions together.
        cut: candidates of the last `score` that had to be cut, with the number of tokens they lost altogether.

    Raises:
        ConfigError: an unknown part; `legacy` of a model of two sides; a tokenizer or head that cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: Renderer | None = None,
        wanted: Collection[str] = ("sequence", "label", "continuation"),
        token_budget: int | None = None,
        max_length: int | None = None,
        cache: LikelihoodCache | None = None,
    ) -> None:
        self.model, self.wanted, self.cache = model, _checked(wanted), cache
        self.cut, self.sharded = (0, 0), is_sharded(model)
        base: Any = base_model_of(model)
        self.two_sided = bool(base.config.is_encoder_decoder) or base.config.model_type == "glm_chinese"
        if self.two_sided and "legacy" in self.wanted:
            raise ConfigError(
                f"scoring=legacy predicts every token from itself in a row of text, which {base.config.model_type} has not: its texts have "
                "two sides. Choose label or length_normalised."
            )
        with _evaluating(model):
            self.encoder, self.engine = _parts(model, tokenizer, template, self.wanted, token_budget, max_length)

    def score(self, questions: Sequence[Question], on_progress: Callable[[int], None] = lambda done: None) -> list[list[Likelihood]]:
        """Likelihoods of every candidate of every question, in their order.

        Args:
            on_progress: called with the number of questions that are finished.

        Raises:
            ConfigError: a label without a token, a candidate too long for the model, a text that no tokenizer can read.
        """
        answers: list[list[Likelihood]] = []
        self.cut = (0, 0)
        with _evaluating(self.model):
            for block in _blocks(questions):
                before = len(answers)
                answers += self._block(block, lambda done, before=before: on_progress(before + done))  # type: ignore[misc]
        if self.cut[0]:
            log.warning("%d candidates were too long for the model and lost %d tokens at their beginning.", *self.cut)
        return answers

    def _block(self, questions: Sequence[Question], on_progress: Callable[[int], None]) -> list[list[Likelihood]]:
        encoded = self.encoder([_pieces(question) for question in questions])
        cuts = [candidate.cut for candidates in encoded for candidate in candidates if candidate.cut]
        self.cut = (self.cut[0] + len(cuts), self.cut[1] + sum(cuts))
        spans = [[_spans(candidate) for candidate in candidates] for candidates in encoded]
        groups = [[self._branch(candidate) for candidate in candidates] for candidates in encoded]
        sharing = [
            None if candidates[0].cut else ("header", question.header) for question, candidates in zip(questions, encoded, strict=True)
        ]
        apart, where = self._unconditional(questions)
        sums = self._sums([*groups, *apart], [*sharing, *[("premise",)] * len(apart)], len(groups), on_progress)
        return [
            [
                self._likelihood(
                    spans[i][c], sums[i][c], sums[len(groups) + where[i]][c][0] if where else None
                )
                for c in range(len(questions[i].candidates))
            ]
            for i in range(len(questions))
        ]  # fmt: skip

    def _branch(self, candidate: Encoded) -> Branch:
        spans = tuple(span for name, span in _spans(candidate).items() if name in self.wanted)
        itself = len(candidate.ids) if "legacy" in self.wanted else 0
        needed = max([itself, 1, *(stop for _, stop in spans)])
        return Branch(candidate.ids[:needed], spans, itself, candidate.source)

    def _unconditional(self, questions: Sequence[Question]) -> tuple[list[list[Branch]], list[int]]:
        """Labels behind the premises alone, each distinct set once; and which set is each question's."""
        if "unconditional" not in self.wanted:
            return [], []
        keys = [(question.premise, tuple(candidate.label for candidate in question.candidates)) for question in questions]
        known = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        pieces = [[Piece(premise, label, "", "premise") for label in labels] for premise, labels in known]
        encoded = self.encoder(pieces)
        groups = [[Branch(c.ids[: c.stop], ((c.start, c.stop),), 0, c.source) for c in candidates] for candidates in encoded]
        return groups, [known[key] for key in keys]

    def _likelihood(self, spans: dict[str, tuple[int, int]], sums: Sequence[float], unconditional: float | None) -> Likelihood:
        names = [name for name in spans if name in self.wanted] + ["legacy"] * ("legacy" in self.wanted)
        found = dict(zip(names, sums, strict=True))
        counts = {f"{name}_tokens": stop - start for name, (start, stop) in spans.items()}
        return Likelihood(**{name: found.get(name) for name in (*spans, "legacy")}, **counts, unconditional=unconditional)  # type: ignore[arg-type]

    def _sums(
        self, groups: Sequence[Sequence[Branch]], sharing: Sequence[Any], told: int, on_progress: Callable[[int], None]
    ) -> list[list[list[float]]]:
        """What the cache knows, and the engine's answers for the rest. Progress counts the first `told` groups."""
        results = self._known(groups)
        missing = [[c for c, sums in enumerate(known) if sums is None] for known in results]
        open_ = [i for i, candidates in enumerate(missing) if candidates]
        finished = told - sum(i < told for i in open_)
        unsaved: list[tuple[Branch, list[float]]] = []
        on_progress(finished)

        def done(at: int, sums: list[list[float]]) -> None:
            nonlocal finished
            i = open_[at]
            for c, found in zip(missing[i], sums, strict=True):
                results[i][c] = found
                unsaved.append((groups[i][c], found))
            finished += i < told
            if self.cache is not None and len(unsaved) >= SAVED_TOGETHER * len(sums):
                self.cache.save(unsaved)
                unsaved.clear()
            on_progress(finished)

        self.engine.score([[groups[i][c] for c in missing[i]] for i in open_], [sharing[i] for i in open_], done)
        if self.cache is not None:
            self.cache.save(unsaved)
        return [[sums or [] for sums in known] for known in results]

    def _known(self, groups: Sequence[Sequence[Branch]]) -> list[list[list[float] | None]]:
        if self.cache is None:
            return [[None] * len(group) for group in groups]
        found = iter(self.cache.find([branch for group in groups for branch in group]))
        return [[next(found) for _ in group] for group in groups]


def _parts(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    template: Renderer | None,
    wanted: Collection[str],
    token_budget: int | None,
    max_length: int | None,
) -> tuple[Encoder, Engine]:
    """How this kind of model is shown texts, and how it is asked."""
    base: Any = base_model_of(model)
    head = install_loss_head(model)
    if token_budget is None:
        token_budget = 512 if head.weight.device.type == "cpu" else 8192
    most = positions_of(base.config, tokenizer, max_length)
    if base.config.model_type == "glm_chinese":
        blanks, room = base.config.blanks, int(base.config.max_sequence_length)
        return BlankEncoder(tokenizer, template, min(most or room, room), blanks), BlankEngine(model, head, token_budget, blanks)
    if base.config.is_encoder_decoder:
        start = base.generation_config.decoder_start_token_id
        start = base.config.decoder_start_token_id if start is None else start
        engine = Seq2SeqEngine(model, head, token_budget, shares_encoder=not is_sharded(model))
        return Seq2SeqEncoder(tokenizer, template, most, start), engine
    forward = CausalForward(model, head)
    causal = CausalEngine(forward, abilities_of(forward), token_budget)
    if template is not None:
        return ChatEncoder(tokenizer, template, most), causal
    return CausalEncoder(tokenizer, most, behind_another=set(wanted) != {"legacy"}), causal


def is_sharded(model: nn.Module) -> bool:
    """Whether weights are gathered by the hooks of the whole model's forward (FSDP2, ZeRO-3)."""
    return any(isinstance(module, FSDPModule) for module in model.modules()) or any("ds_tensor" in vars(p) for p in model.parameters())


def _checked(wanted: Collection[str]) -> frozenset[str]:
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown or not wanted:
        raise ConfigError(f"wanted={unknown or sorted(wanted)} names no likelihood; choose some of {', '.join(PARTS)}.")
    return frozenset(wanted)


def _pieces(question: Question) -> list[Piece]:
    return [Piece(question.header + c.before, c.label, c.after, question.id) for c in question.candidates]


def _spans(candidate: Encoded) -> dict[str, tuple[int, int]]:
    """Tokens of each part; the first token of a row has nothing before it."""
    start, stop, end = max(candidate.start, 1), candidate.stop, len(candidate.ids)
    return {"sequence": (1, end), "label": (start, stop), "continuation": (start, end)}


def _blocks(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    begin = size = 0
    for i, question in enumerate(questions):
        size += sum(len(text) for text in question.texts)
        if size >= BLOCK_CHARACTERS:
            yield questions[begin : i + 1]
            begin, size = i + 1, 0
    if begin < len(questions):
        yield questions[begin:]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    groups = [module for module in model.modules() if isinstance(module, FSDPModule)]
    model.eval()
    try:
        # what is gathered in inference mode could not be used in the next backward
        with torch.no_grad() if is_sharded(model) else torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for group in groups:
            group.reshard()  # the root group stays gathered after a forward that no backward follows
