"""An output head that can answer with what its targets are worth, or with its own input, instead of logits.

A language model's forward ends in `logits = lm_head(hidden)`. The head is a module that the model calls, so the loss
can be computed right there, where the hidden states are, without teaching any model anything: hooks (FSDP2, ZeRO-3,
PEFT) fire as in any forward.

    head = install_loss_head(model)
    with head.loss_of(targets):
        out = model(input_ids=..., attention_mask=..., use_cache=False)
    nll_sum, correct = out.logits  # [2], not [B, T, V]

Reward, value and policy heads are asked the same way (`hidden_states`, `token_logprobs`, `token_answers`), so none of them needs to know
which family it stands on.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.functional.labels import IGNORED
from kinnari.functional.linear_cross_entropy import linear_cross_entropy, plain_cross_entropy
from kinnari.functional.several_targets import several_logprobs
from kinnari.functional.token_logprobs import token_logprobs
from kinnari.models.post_head import PostHead, post_head_of


class TokenAnswers(NamedTuple):
    """What one forward says about every position, for PPO: the policy's numbers, and what its value head reads."""

    logprobs: Tensor
    """[B, T] float32 nats: log p(target); 0 where there is none."""
    entropy: Tensor
    """[B, T] float32 nats: entropy of the distribution the target was drawn from; 0 where there is no target."""
    hidden_states: Tensor
    """[B, T, H] float32: what the head reads, at every position."""


class LossHead(nn.Linear):
    """`nn.Linear` [.., H] -> [.., V] that can be asked for something smaller than logits; `out.logits` then is the answer.

    loss_of(targets)          [2] float32: (nll_sum, correct)
    token_logprobs(targets)   [B, T] float32
    token_answers(targets)    [B, T, 2 + H] float32; `read_answers` takes it apart
    several_logprobs(places, targets)   [M] float32, without a gradient
    hidden_states()           [B, T, H]: the input of the head, for heads of another kind

    Only positions with a target (not -100) go through the matrix product. The weight is used inside forward alone, and kept for the
    backward as the Parameter itself, so a strategy that gathers it before a pass and frees it afterwards needs no special case. All
    answers are one tensor that leaves through the model, so that hooks on outputs (FSDP2, ZeRO-3) fire.
    """

    post_head: PostHead | None = None
    _answer: Callable[[Tensor, dict[str, Any]], Tensor] | None = None
    _settings: dict[str, Any] | None = None
    """What the model does after the head, in the words of `linear_cross_entropy`, while a block is open."""

    def loss_of(self, targets: Tensor, *, chunked: bool = True) -> AbstractContextManager[None]:
        """Within the block, forward answers with the loss of `targets`: [2] float32, sum of token losses in nats and right predictions.

        Args:
            targets: [B, T] int64, -100 where not trained; already shifted for a causal model
                (`functional.labels.shift_targets`).
            chunked: logits of one chunk at a time (`linear_cross_entropy`), or all at once (`plain_cross_entropy`).

        Raises:
            RuntimeError: blocks of one head inside each other: the inner targets would answer for the outer forward.
        """

        def answer(hidden: Tensor, settings: dict[str, Any]) -> Tensor:
            cross_entropy = linear_cross_entropy if chunked else plain_cross_entropy
            rows, wanted, _ = _with_target(hidden, targets)
            nll_sum, correct = cross_entropy(rows, self.weight, wanted, bias=self.bias, **settings)
            return torch.stack((nll_sum, correct.to(nll_sum.dtype)))

        return self._answering(answer)

    def token_logprobs(self, targets: Tensor, *, temperature: float = 1.0) -> AbstractContextManager[None]:
        """Within the block, forward answers with log p(target): [B, T] float32 nats, 0 where the target is -100.

        Args:
            targets: as in `loss_of`.
            temperature: what sampling divided its logits by.

        Raises:
            RuntimeError: as `loss_of`.
        """

        def answer(hidden: Tensor, settings: dict[str, Any]) -> Tensor:
            rows, wanted, where = _with_target(hidden, targets)
            found = token_logprobs(rows, self.weight, wanted, bias=self.bias, temperature=temperature, **settings)
            return _scattered(found.logprobs, where, hidden)

        return self._answering(answer)

    def token_answers(self, targets: Tensor, *, temperature: float = 1.0, entropy_gradient: bool = False) -> AbstractContextManager[None]:
        """Within the block, forward answers with log p(target), entropy and hidden states, packed: [B, T, 2 + H] float32.

            with head.token_answers(targets):
                out = model(**inputs)
            logprobs, entropy, hidden_states = read_answers(out.logits)

        Args:
            targets: as in `loss_of`.
            temperature: what sampling divided its logits by.
            entropy_gradient: the entropy carries a gradient, for an entropy bonus; the log-probabilities and hidden states always do.

        Raises:
            RuntimeError: as `loss_of`.
        """

        def answer(hidden: Tensor, settings: dict[str, Any]) -> Tensor:
            rows, wanted, where = _with_target(hidden, targets)
            found = token_logprobs(rows, self.weight, wanted, bias=self.bias, temperature=temperature,
                                   entropy=True, entropy_gradient=entropy_gradient, **settings)  # fmt: skip
            numbers = (_scattered(part, where, hidden)[..., None] for part in found)
            return torch.cat([*numbers, hidden.to(found.logprobs.dtype)], dim=-1)

        return self._answering(answer)

    def several_logprobs(self, places: Tensor, targets: Tensor) -> AbstractContextManager[None]:
        """Within the block, forward answers with log p(targets[i]) at position places[i]: [M] float32 nats, without a gradient.

        Args:
            places: [M] int64 in [0, B * T): row * T + column. One position may stand there for several targets; its logits are made once.
            targets: [M] int64, the token that each must predict.

        Raises:
            RuntimeError: as `loss_of`.
        """

        def answer(hidden: Tensor, settings: dict[str, Any]) -> Tensor:
            flat = hidden.reshape(-1, hidden.shape[-1])
            rows, owners = places.to(flat.device).unique(return_inverse=True)
            return several_logprobs(flat[rows], self.weight, owners, targets.to(flat.device), bias=self.bias, **settings)

        return self._answering(answer)

    def hidden_states(self) -> AbstractContextManager[None]:
        """Within the block, forward answers with what it was given: the last hidden states [B, T, H], after the model's last norm.

        What a reward or value head reads, for any family. H is `in_features`. T5 with a tied head scales them by H ** -0.5 first.

        Raises:
            RuntimeError: as `loss_of`.
        """
        return self._answering(lambda hidden, _: hidden)

    @contextmanager
    def _answering(self, answer: Callable[[Tensor, dict[str, Any]], Tensor]) -> Iterator[None]:
        if self._answer is not None:
            raise RuntimeError("a block is already open on this head: leave the first one before opening another")
        self._answer, self._settings = answer, {}
        try:
            if self.post_head is None:
                yield
            else:
                settings = self.post_head.settings()
                with self.post_head.neutralised():
                    self._settings = settings
                    yield
        finally:
            self._answer = self._settings = None

    def forward(self, hidden: Tensor) -> Tensor:
        if self._answer is None:
            return super().forward(hidden)
        return self._answer(hidden, self._settings or {})


def read_answers(answers: Tensor) -> TokenAnswers:
    """Take apart what `LossHead.token_answers` packed: [B, T, 2 + H]."""
    return TokenAnswers(answers[..., 0], answers[..., 1], answers[..., 2:])


def _with_target(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of `hidden` [B, T, H] that have a target: them [N, H], their targets [N], their places in B * T [N]."""
    if hidden.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets are {tuple(targets.shape)} and the hidden states {tuple(hidden.shape)}: one target a "
            "position is needed; pass targets of the shape of the (decoder's) input_ids and no logits_to_keep"
        )
    flat = targets.reshape(-1).to(hidden.device)
    where = (flat != IGNORED).nonzero().squeeze(1)
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, where), flat.index_select(0, where), where


def _scattered(values: Tensor, where: Tensor, hidden: Tensor) -> Tensor:
    """[N] values at their places in [B, T], 0 elsewhere."""
    flat = torch.zeros(hidden.shape[0] * hidden.shape[1], dtype=values.dtype, device=values.device)
    return flat.index_copy(0, where, values).view(hidden.shape[:-1])


def install_loss_head(model: nn.Module) -> LossHead:
    """Replace the output embedding of `model` by a `LossHead` around the same Parameters, and return it.

    Names, tying, `state_dict` and saved files stay as they were. Idempotent. Install it last: `resize_token_embeddings`
    makes a new plain Linear. Without `loss_of` the model computes what it did before, so generation needs no undoing.

    Args:
        model: a Hugging Face causal or sequence-to-sequence model, bare or inside PEFT, quantised or not (its head is
            not).

    Raises:
        ConfigError: a head that is no plain Linear (quantised, adapted by LoRA, sharded or offloaded already), none at
            all, or a model that changes its logits after the head in a way not listed here.
    """
    base = base_model_of(model)
    head = base.get_output_embeddings()
    if type(head) is LossHead:
        return head
    _check_plain_linear(head, base)
    loss_head = _around(head)
    loss_head.post_head = post_head_of(base)
    for name, module in list(base.named_modules(remove_duplicate=False)):
        if module is head:
            parent, _, child = name.rpartition(".")
            setattr(base.get_submodule(parent), child, loss_head)
    return loss_head


def base_model_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside PEFT's wrapping, or `model` itself. Raises ConfigError where it is neither."""
    from peft import PeftModel

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, PreTrainedModel):
        raise ConfigError(
            f"a transformers model is needed here, bare or in PEFT; this is {type(base).__name__}. Load it with its Auto class."
        )
    return base


def _check_plain_linear(head: nn.Module | None, base: PreTrainedModel) -> None:
    name = type(base).__name__
    if head is None:
        raise ConfigError(f"{name} has no output embedding: load it as a causal or seq2seq language model")
    if type(head) is not nn.Linear:
        raise ConfigError(
            f"the output head of {name} is {type(head).__module__}.{type(head).__name__}, and the loss needs a plain "
            "nn.Linear: leave the head out of quantisation and of the LoRA targets, and install the loss head before any sharding"
        )
    if "forward" in vars(head):
        raise ConfigError(
            f"the output head of {name} is offloaded (accelerate replaced its forward): load the model without device_map offloading"
        )


def _around(head: nn.Linear) -> LossHead:
    """A LossHead that holds the Parameters of `head` themselves."""
    loss_head = LossHead(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
    loss_head.weight, loss_head.bias = head.weight, head.bias
    # Hooks someone put on the head (to make inputs require grad, to record activations) belong to its place in the
    # model.
    for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        vars(loss_head)[hooks] = vars(head)[hooks]
    return loss_head.train(head.training)
