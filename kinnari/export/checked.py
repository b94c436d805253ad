"""A trained model as folders, each checked before it gets its name: what task=export and the end of a training run do."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kinnari.export.adapter import export_adapter
from kinnari.export.card import CardFacts, Kind, model_card
from kinnari.export.folder import written_whole
from kinnari.export.merged import SHARD_SIZE, MergeReport, write_merged
from kinnari.export.probe import make_probe
from kinnari.export.verify import LogitGap, accepted, fits_in_float32, float_products, load_plain, logit_gap, probe_logits, tell, widen
from kinnari.text.conversation import Conversation
from kinnari.text.template import Renderer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How a model leaves.

    Attributes:
        dtype: of the merged weights; None keeps what the base checkpoint stores.
        shard_size: most bytes of a safetensors file, such as "400MB".
        max_logit_gap: in logits; None is `kinnari.export.verify.accepted`.
        min_greedy_agreement: None is the same.
    """

    dtype: torch.dtype | None = None
    shard_size: str = SHARD_SIZE
    max_logit_gap: float | None = None
    min_greedy_agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model that can be put together on the CPU, and what is known of it.

    Attributes:
        load: makes it; the caller of `load` is the only owner, so that it can be freed.
        template: how it was trained to read conversations; None where nobody knows.
        stored: dtype of the base checkpoint.
        conversations: held-out ones, to compare logits on beside the probe's own.
    """

    load: Callable[[], PreTrainedModel | PeftModel]
    tokenizer: PreTrainedTokenizerBase
    template: Renderer | None
    stored: torch.dtype
    facts: CardFacts
    conversations: Sequence[Conversation] = ()


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        adapter: folder; None after full tuning.
        merged: folder; None where only the adapter was wanted.
        report: of the merge.
        gap: of the merged folder to the trained model.
    """

    adapter: Path | None = None
    merged: Path | None = None
    report: MergeReport | None = None
    gap: LogitGap | None = None


def export_model(
    trained: TrainedModel, settings: ExportSettings, *, adapter: Path | None, merged: Path | None, merged_card: Kind = "merged"
) -> Exported:
    """Writes the adapter and the merged folder, each with its model card; the merged one only if it computes what was trained.

    One copy of the model is in memory at a time: the trained one is freed before the merged folder is loaded.

    Args:
        adapter: where the adapter goes; None, and a model without one, write none.
        merged: where base + adapter go; None writes none.
        merged_card: what the card of `merged` says it is.

    Raises:
        ExportRejected: the gap is over a limit; nothing stays at `merged`.
    """
    model: Any = trained.load()
    adapter_folder = None
    if adapter is not None and isinstance(model, PeftModel):
        card = model_card(trained.facts, "adapter", model.config.model_type)
        adapter_folder = export_adapter(model, trained.tokenizer, adapter, finish=lambda work: card.save(work / "README.md"))
    if merged is None:
        return Exported(adapter_folder)
    found: dict[str, Any] = {}

    def write(work: Path) -> None:
        nonlocal model
        dtype = settings.dtype or trained.stored
        found["report"] = write_merged(model, trained.tokenizer, work, dtype=dtype, shard_size=settings.shard_size)
        model_type = model.config.model_type
        owned, model = [model], None
        found["gap"] = check_merged(owned, trained, settings, work, found["report"])
        model_card(trained.facts, merged_card, model_type, report=found["report"], gap=found["gap"]).save(work / "README.md")

    return Exported(adapter_folder, written_whole(merged, write), **found)


def check_merged(owned: list[Any], trained: TrainedModel, settings: ExportSettings, folder: Path, report: MergeReport) -> LogitGap:
    """The gap between the trained model, the only entry of `owned`, which is taken out and freed, and the folder.

    Raises:
        ExportRejected: it is over a limit.
    """
    seq2seq = owned[0].config.is_encoder_decoder
    start = owned[0].config.decoder_start_token_id if seq2seq else None
    log.info("comparing the merged weights with the trained model")
    in_float32 = fits_in_float32(sum(parameter.numel() for parameter in owned[0].parameters()))
    probe = make_probe(trained.tokenizer, trained.template, decoder_start=start, conversations=trained.conversations)
    expected = _expected(owned, probe, in_float32)
    merged = load_plain(folder, seq2seq=seq2seq, dtype=torch.float32 if in_float32 else report.dtype)
    gap = tell(logit_gap(expected, merged, probe), "Merged")
    kind = str(report.dtype).removeprefix("torch.")
    limits = {"max_logit_gap": settings.max_logit_gap, "min_greedy_agreement": settings.min_greedy_agreement}
    accepted(gap, kind, **limits).check(gap, f"The merge in {kind}")
    return gap


def _expected(owned: list[Any], probe: Any, in_float32: bool) -> list[Tensor]:
    model = owned.pop()
    if in_float32:
        widen(model)
    with float_products(model):
        logits = probe_logits(model, probe)
    del model
    gc.collect()  # PEFT's wrappers refer to each other
    return logits
