"""Whether what was written computes what was trained: the same logits, the same greedy tokens, over a probe."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from kinnari.errors import ExportRejected
from kinnari.export.probe import Probe
from kinnari.models.quantized import float_weight, is_quantized_parameter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogitGap:
    """How far written weights are from the model that was trained and evaluated.

    Attributes:
        logit_gap_max: largest difference of any logit at any probed position.
        greedy_agreement: share of positions where both choose the same token.
        logit_spread: standard deviation of the trained model's logits over the vocabulary, mean of all positions: what a gap is
            measured against, since softmax sees differences of logits alone.
        positions: number of positions probed.
        computed_in: dtype both models computed in.
    """

    logit_gap_max: float
    greedy_agreement: float
    logit_spread: float
    positions: int
    computed_in: str


@dataclass(frozen=True)
class GapLimits:
    """What is still accepted.

    Attributes:
        max_logit_gap: of `LogitGap.logit_gap_max`, in logits.
        min_greedy_agreement: of `LogitGap.greedy_agreement`.
    """

    max_logit_gap: float
    min_greedy_agreement: float

    def check(self, gap: LogitGap, what: str) -> None:
        """Raises ExportRejected where `gap` is over a limit or no number."""
        # written so that NaN fails
        if gap.logit_gap_max <= self.max_logit_gap and gap.greedy_agreement >= self.min_greedy_agreement:
            return
        raise ExportRejected(
            f"{what} does not compute what was trained: its largest logit gap is {gap.logit_gap_max:.3g} (at most "
            f"{self.max_logit_gap:.3g} is accepted) and it chooses the same token at {gap.greedy_agreement:.1%} of "
            f"{gap.positions} positions (at least {self.min_greedy_agreement:.1%}). It was not kept. Export with a wider "
            "export.dtype or export.gguf type; if the gap is meant to be that large, raise export.max_logit_gap or lower "
            "export.min_greedy_agreement.",
            logit_gap_max=gap.logit_gap_max,
            greedy_agreement=gap.greedy_agreement,
        )


# What rounding once may do: (gap as a share of the logits' spread, share of same tokens). Seen on SmolLM2-135M, 500 positions in
# float32: float32 0.00005 and 1.0, float16 0.03 and 1.0, bfloat16 0.23 and 0.978, GGUF F16 0.013 and 0.998, Q8_0 0.42 and 0.966, Q4_1 4.4
# and 0.786, Q4_0 6.9 and 0.598; larger models lose less. A merge that lost its adapter is off by about the spread itself, and a file with
# mixed-up tensors agrees at almost no position.
ACCEPTED = {
    "float32": (1e-3, 0.995), "float16": (0.1, 0.98), "bfloat16": (0.5, 0.95),
    "F32": (1e-3, 0.995), "F16": (0.1, 0.98), "BF16": (0.5, 0.95),
    "Q8_0": (0.8, 0.93), "Q4_1": (8.0, 0.6), "Q4_0": (10.0, 0.45),
}  # fmt: skip
LOWEST_AGREEMENT_16_BIT = 0.9  # where both models compute in 16 bits and round at every step


def accepted(gap: LogitGap, kind: str, *, max_logit_gap: float | None = None, min_greedy_agreement: float | None = None) -> GapLimits:
    """The limits for weights written as `kind` (a dtype or a GGUF type), where the user names none.

    Args:
        gap: what was measured; its spread is the unit of the default.
    """
    share, agreement = ACCEPTED[kind]
    if gap.computed_in != "float32":
        share, agreement = share + 2 * ACCEPTED[gap.computed_in][0], min(agreement, LOWEST_AGREEMENT_16_BIT)
    return GapLimits(
        share * gap.logit_spread if max_logit_gap is None else max_logit_gap,
        agreement if min_greedy_agreement is None else min_greedy_agreement,
    )


@contextmanager
def float_products(model: nn.Module) -> Iterator[None]:
    """Few-bit layers multiply with their expanded weights meanwhile. The 8-bit product rounds the activations too, which nothing that
    is merged can do; the 4-bit one skips, without gradients, the rounding of expanded weights to the dtype that training computed in
    (bitsandbytes 0.50). Both would hide what a merge does."""
    few_bits = ("Linear8bitLt", "Linear4bit")
    layers: list[Any] = [module for module in model.modules() if type(module).__name__ in few_bits and not isinstance(module, LoraLayer)]
    for layer in layers:
        layer.forward = partial(_float_product, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _float_product(layer: Any, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return nn.functional.linear(x, float_weight(layer).to(x.dtype), bias)


def probe_logits(model: PreTrainedModel | PeftModel, probe: Probe) -> list[Tensor]:
    """[T, V] float32 logits on the CPU of each row of the probe; the model's mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return [model(**probe.inputs(i, device)).logits[0].float().cpu() for i in range(len(probe))]
    finally:
        model.train(was_training)


def logit_gap(expected: Sequence[Tensor], model: PreTrainedModel, probe: Probe) -> LogitGap:
    """Compares logits that were computed before with those of `model`, row by row."""
    device = next(model.parameters()).device
    largest, same, spread = 0.0, 0, 0.0
    with torch.no_grad():
        for i, ours in enumerate(expected):
            theirs = model(**probe.inputs(i, device)).logits[0].float().cpu()
            gap = (ours - theirs).abs().max().item()
            largest = gap if gap != gap else max(largest, gap)
            same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            spread += ours.std(-1).sum().item()
    positions = sum(len(row) for row in expected)
    dtype = str(model.dtype).removeprefix("torch.")
    return LogitGap(largest, same / positions, spread / positions, positions, dtype)


def load_plain(folder: Path, *, seq2seq: bool, dtype: torch.dtype) -> PreTrainedModel:
    """The written folder as anybody would load it, in eval mode."""
    auto: Any = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype, use_safetensors=True).eval()


def verify_merge(model: PreTrainedModel | PeftModel, folder: Path, probe: Probe, *, dtype: torch.dtype = torch.float32) -> LogitGap:
    """Loads the merged folder with plain transformers and compares its logits with those of the trained model (under `float_products`).

    Args:
        model: the model that was exported.
        folder: what `kinnari.export.merged.export_merged` wrote.
        dtype: dtype the folder is loaded in.
    """
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    with float_products(model):
        expected = probe_logits(model, probe)
    return tell(logit_gap(expected, load_plain(folder, seq2seq=base.config.is_encoder_decoder, dtype=dtype), probe), "Merged")


def tell(gap: LogitGap, what: str) -> LogitGap:
    """Prints a gap and hands it on."""
    log.info("%s against trained model: largest logit gap %.2e (spread of the logits %.2g), same greedy token at %.1f %% of %d positions.",
             what, gap.logit_gap_max, gap.logit_spread, 100 * gap.greedy_agreement, gap.positions)  # fmt: skip
    return gap


def widen(model: PreTrainedModel | PeftModel) -> None:
    """Holds all but the few-bit weights in float32, in place: then the gap is that of the written numbers, not of two computations."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point() and not is_quantized_parameter(tensor):
            tensor.data = tensor.data.float()


def fits_in_float32(parameters: int) -> bool:
    """Whether a float32 copy of that many parameters leaves half of the free memory alone."""
    import psutil

    return 4 * parameters <= psutil.virtual_memory().available / 2
