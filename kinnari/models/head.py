"""An output head that can answer with the loss of its targets instead of logits.

A language model's forward ends in `logits = lm_head(hidden)`. The head is a module that the model calls, so the loss
can be computed right there, where the hidden states are, without teaching any model anything: hooks (FSDP2, ZeRO-3,
PEFT) fire as in any forward.

    head = install_loss_head(model)
    with head.loss_of(targets):
        out = model(input_ids=..., attention_mask=..., use_cache=False)
    nll_sum, correct = out.logits  # [2], not [B, T, V]
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from kinnari.errors import ConfigError
from kinnari.functional.labels import IGNORED
from kinnari.functional.linear_cross_entropy import linear_cross_entropy, plain_cross_entropy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PostHead:
    """What a model does to its logits after the head, and where it reads that from.

    The head does it itself while it has targets, and the model is kept from doing it to the [2] tensor by setting the
    attribute it reads to the value that changes nothing.
    """

    owner: Any
    """The object the model reads at every forward: its config (Gemma, Granite) or itself (Cohere)."""
    attribute: str
    neutral: Any
    kind: str
    """softcap | multiply | divide"""

    def settings(self) -> dict[str, Any]:
        """Arguments for `linear_cross_entropy`, from the value of this moment."""
        value = vars(self.owner)[self.attribute]
        if value is None:
            return {}
        if self.kind == "softcap":
            return {"softcap": value}
        return {"logit_scale": value if self.kind == "multiply" else 1.0 / value}

    @contextmanager
    def neutralised(self) -> Iterator[None]:
        value = vars(self.owner)[self.attribute]
        setattr(self.owner, self.attribute, self.neutral)
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, value)


class LossHead(nn.Linear):
    """`nn.Linear` [.., H] -> [.., V]; inside `loss_of(targets)` its forward returns [2] float32: (nll_sum, correct).

    Only the trained positions (targets != -100) go through the matrix product. The weight is used inside forward alone,
    so a strategy that gathers it before the forward and frees it afterwards needs no special case.
    """

    post_head: PostHead | None = None
    _targets: Tensor | None = None
    _chunked: bool = True
    _settings: dict[str, Any] | None = None
    """What the model does after the head, in the words of `linear_cross_entropy`, while a block is open."""

    @contextmanager
    def loss_of(self, targets: Tensor, *, chunked: bool = True) -> Iterator[None]:
        """Within the block, forward answers with the loss of `targets`.

        Args:
            targets: [B, T] int64, -100 where not trained; already shifted for a causal model
                (`functional.labels.shift_targets`).
            chunked: logits of one chunk at a time (`linear_cross_entropy`), or all at once (`plain_cross_entropy`).

        Raises:
            RuntimeError: blocks of one head inside each other: the inner targets would answer for the outer forward.
        """
        if self._targets is not None:
            raise RuntimeError("loss_of is already open on this head: leave the first block before opening another")
        self._targets, self._chunked = targets, chunked
        try:
            if self.post_head is None:
                yield
            else:
                settings = self.post_head.settings()
                with self.post_head.neutralised():
                    self._settings = settings
                    yield
        finally:
            self._targets = self._settings = None

    def forward(self, hidden: Tensor) -> Tensor:
        if self._targets is None:
            return super().forward(hidden)
        if hidden.shape[:-1] != self._targets.shape:
            raise ValueError(
                f"targets are {tuple(self._targets.shape)} and the hidden states {tuple(hidden.shape)}: one target a "
                "position is needed; pass targets of the shape of the (decoder's) input_ids and no logits_to_keep"
            )
        targets = self._targets.reshape(-1).to(hidden.device)
        trained = (targets != IGNORED).nonzero().squeeze(1)
        cross_entropy = linear_cross_entropy if self._chunked else plain_cross_entropy
        nll_sum, correct = cross_entropy(
            hidden.reshape(-1, hidden.shape[-1]).index_select(0, trained),
            self.weight,
            targets.index_select(0, trained),
            bias=self.bias,
            **(self._settings or {}),
        )
        return torch.stack((nll_sum, correct.to(nll_sum.dtype)))


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
    base = _base_model(model)
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


# Which models of transformers 5.23 change their logits after the head, by config.model_type. A model absent here that
# has such a setting in its config is refused: its loss would be wrong without a sign.
_SOFTCAPPED = {"gemma2", "gemma3_text", "gemma3n_text", "gemma4_text", "vaultgemma", "nanochat"}
_MULTIPLIED = {"cohere", "cohere2"}
_DIVIDED = {"granite", "granite_swa", "granitemoe", "granitemoe_swa", "granitemoeshared", "granitemoehybrid"}
_LOGIT_SETTINGS = {
    "final_logit_softcapping": None,
    "logits_soft_cap": None,
    "logit_scale": 1.0,
    "logits_scaling": 1.0,
    "lm_head_multiplier": 1.0,
    "output_multiplier": 1.0,
}


def post_head_of(base: PreTrainedModel) -> PostHead | None:
    """What `base` does to its logits after the head, None for nothing.

    Raises:
        ConfigError: the config (or a `final_logits_bias`) speaks of an operation that is not known for this model type.
    """
    config = base.config
    if config.model_type in _SOFTCAPPED:
        return PostHead(config, "final_logit_softcapping", None, "softcap")
    if config.model_type in _MULTIPLIED:
        return PostHead(base, "logit_scale", 1.0, "multiply")
    if config.model_type in _DIVIDED:
        return PostHead(config, "logits_scaling", 1.0, "divide")
    unknown = _unknown_logit_settings(config)
    if "final_logits_bias" in dict(base.named_buffers(recurse=False)):
        unknown["final_logits_bias"] = "a buffer of the model"
    if unknown:
        raise ConfigError(
            f"model type {config.model_type!r} changes its logits after the head ({unknown}) in a way the loss head does "
            "not know: its loss would be wrong. Use a model of another family, or add its type to kinnari/models/head.py"
        )
    return None


def _unknown_logit_settings(config: PretrainedConfig) -> dict[str, Any]:
    # the language part of a composite (vision + text, encoder + decoder) keeps such settings in a config of its own
    settings = {**vars(config.get_text_config(decoder=True)), **vars(config)}
    return {name: settings[name] for name, neutral in _LOGIT_SETTINGS.items() if settings.get(name, neutral) not in (neutral, None)}


def _base_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside PEFT's wrapping, or `model` itself."""
    from peft import PeftModel

    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not isinstance(base, PreTrainedModel):
        raise ConfigError(
            f"a loss head needs a transformers model with a language-model head, bare or in PEFT; this is {type(base).__name__}"
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
