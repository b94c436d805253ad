"""One forward of a causal model over rows of trees, and how such a model is asked what it can take."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from kinnari.evaluation.likelihood.prefix import shared_cache
from kinnari.evaluation.likelihood.rows import ancestors, asked, deliver, padded, within
from kinnari.evaluation.likelihood.tree import Branch, Row, Tree
from kinnari.models.head import LossHead, base_model_of

log = logging.getLogger(__name__)

EXACT = 2e-4  # nats of a log-probability, in float32
SHARE = {torch.float32: 0.005, torch.float64: 0.0}  # of what ignoring the tree would change; other dtypes: 0.05
PROBE = 40  # tokens
# transformers 5.23: every layer looks through config.sliding_window, and takes one mask
ALL_SLIDING = {"mistral", "ministral3", "mixtral", "phi3", "phimoe", "phi4_multimodal", "qwen3_moe", "starcoder2"}
KNOWN_LAYERS = {"full_attention", "sliding_attention"}


@dataclass(frozen=True)
class Prefix:
    """The beginning that rows share.

    Attributes:
        ids: its P tokens.
        cache: their keys and values.
        values: [2, P + 1] log-probabilities, as `Tree.sums` takes them.
    """

    ids: tuple[int, ...]
    cache: DynamicCache
    values: np.ndarray


class CausalForward:
    """Asks a causal model for log-probabilities at the places of rows.

    Args:
        model: a transformers causal model, bare or in PEFT, whose head is `head`.
        head: of `install_loss_head`.
    """

    def __init__(self, model: nn.Module, head: LossHead) -> None:
        self.model, self.head = model, head
        base = base_model_of(model)
        self.config = base.config.get_text_config(decoder=True)
        self.device = next(base.get_input_embeddings().parameters()).device
        self.windows = _windows(self.config)

    def __call__(self, rows: Sequence[Row], prefix: Prefix | None = None) -> Tensor:
        """[M] float32 log-probabilities, in the order of the rows and of their places."""
        ids = padded([row.ids for row in rows])
        if all(row.is_chain for row in rows):
            lengths = torch.tensor([[len(row.ids)] for row in rows])
            past = 0 if prefix is None else len(prefix.ids)
            inputs: dict[str, Any] = {"attention_mask": (torch.arange(past + ids.shape[1]) < past + lengths).long().to(self.device)}
        else:
            inputs = self._branching(rows, 0 if prefix is None else len(prefix.ids))
        cache = {"use_cache": False} if prefix is None else {"use_cache": True, "past_key_values": prefix.cache}
        with self.head.several_logprobs(*asked(rows)):
            return self.model(input_ids=ids.to(self.device), **inputs, **cache).logits

    def prefix(self, ids: tuple[int, ...], following: int, *, behind: bool, itself: bool) -> Prefix:
        """Compute the beginning of rows.

        Args:
            following: the token behind it, the same in all rows.
            behind: whether the log-probabilities of its tokens are wanted.
            itself: whether those of tokens behind themselves are.
        """
        length = len(ids)
        places = torch.arange(length)
        targets = torch.tensor([*ids[1:], following])
        both = [(places, targets)] * behind + [(places, torch.tensor(ids))] * itself
        wanted = [torch.cat(parts) for parts in zip(*both, strict=True)] or [places[:0], targets[:0]]
        cache = DynamicCache()
        with self.head.several_logprobs(*wanted):
            out = self.model(input_ids=torch.tensor([ids], device=self.device), past_key_values=cache, use_cache=True)
        numbers, values = out.logits.double().cpu().numpy(), np.zeros((2, length + 1))
        if behind:
            values[0, 1:] = numbers[:length]
        if itself:
            values[1, :-1] = numbers[-length:]
        return Prefix(ids, shared_cache(cache), values)

    def _branching(self, rows: Sequence[Row], past: int) -> dict[str, Any]:
        """Mask and positions of rows with branches."""
        positions = padded([row.positions for row in rows], fill=past)
        seen = ancestors(rows, past)
        masks = {
            kind: self._mask(seen if window is None else seen & within(positions, past, window)) for kind, window in self.windows.items()
        }
        mask = masks if len(masks) > 1 else next(iter(masks.values()))
        return {"attention_mask": mask, "position_ids": positions.to(self.device)}

    def _mask(self, seen: Tensor) -> Tensor:
        """[B, 1, W, K] boolean for SDPA, additive for eager attention, which adds it to the scores."""
        seen = seen[:, None].to(self.device)
        if self.config._attn_implementation != "eager":
            return seen
        dtype = self.head.weight.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=self.device).masked_fill(~seen, torch.finfo(dtype).min)


def _windows(config: Any) -> dict[str, int | None]:
    """Kinds of layers and how far each looks back; None for everything before."""
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if window and not getattr(config, "layer_types", None):
        return {"full_attention" if config.model_type in ALL_SLIDING else "unknown": window}
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(kinds)}


@dataclass(frozen=True)
class Abilities:
    """What a causal model computes exactly.

    Attributes:
        trees: rows with branches.
        prefixes: rows behind a shared prefix.
    """

    trees: bool
    prefixes: bool


_KNOWN: WeakKeyDictionary[nn.Module, Abilities] = WeakKeyDictionary()


def abilities_of(forward: CausalForward) -> Abilities:
    """What this model takes; it is asked once, with five short forwards."""
    base = base_model_of(forward.model)
    if base not in _KNOWN:
        _KNOWN[base] = _asked_abilities(forward)
    return _KNOWN[base]


@torch.no_grad()
def _asked_abilities(forward: CausalForward) -> Abilities:
    """Ask the model itself: log-probabilities of two branches as a tree and behind a prefix, against those of separate rows.

    So no list of families decides, and a family that ignores a mask or positions without a word is found out. What it would say if it
    took the row for running text is the measure of what may differ.
    """
    room = getattr(forward.config, "max_position_embeddings", None) or PROBE
    if not set(forward.windows) <= KNOWN_LAYERS or forward.config.model_type == "gpt_neo" or room < PROBE:
        return Abilities(trees=False, prefixes=False)  # chunks, recurrences and hidden windows show in longer texts only
    vocabulary = forward.head.out_features  # the weight itself may be empty between forwards (ZeRO-3)
    tokens = [7 + (17 * i * i + 5 * i) % max(1, vocabulary - 8) for i in range(PROBE)]
    first, second = tuple(tokens[:30]), tuple(tokens[:8] + tokens[30:])
    branches = [Branch(text, ((9, len(text)),)) for text in sorted((first, second))]
    running = branches[0].ids + branches[1].ids[8:]
    alone = _sums(forward, branches, 0, branching=False)
    behind = Branch(running, ((len(branches[0].ids) + 1, PROBE),))
    taken_as_text = _sums(forward, [behind], 0, branching=False)[0]
    dtype = forward.head.weight.dtype
    error = max(EXACT if dtype.itemsize >= 4 else 0.0, SHARE.get(dtype, 0.05) * abs(taken_as_text - alone[1]))

    def agrees(past: int, branching: bool) -> bool:
        try:
            found = _sums(forward, branches, past, branching=branching)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError) as problem:
            log.debug("no %s: %s", "trees" if branching else "prefixes", problem)  # each library refuses in its own way
            return False
        return bool(np.abs(np.subtract(found, alone)).max() <= error)

    trees = forward.config._attn_implementation in ("sdpa", "eager") and agrees(0, True)
    if not trees:
        log.info("%s takes no rows with branches: candidates are scored in rows of their own, which is slower.", forward.config.model_type)
    return Abilities(trees=trees, prefixes=agrees(5, False) and (not trees or agrees(5, True)))


def _sums(forward: CausalForward, branches: list[Branch], past: int, *, branching: bool) -> list[float]:
    prefix = forward.prefix(branches[0].ids[:past], branches[0].ids[past], behind=True, itself=False) if past else None
    tree = Tree(branches, past)
    rows = tree.rows(branching=branching)
    deliver(rows, forward(rows, prefix))
    return [sums[0] for sums in tree.sums(None if prefix is None else prefix.values)]
