"""A GGUF file that is read back and compared with the folder it was made from before it gets its name."""

import gc
import logging
import shutil
from pathlib import Path

import torch
from transformers import AutoConfig

from kinnari.export.card import model_card
from kinnari.export.checked import TrainedModel
from kinnari.export.folder import written_whole
from kinnari.export.gguf import GgufReport, write_gguf
from kinnari.export.probe import Probe, make_probe
from kinnari.export.verify import LogitGap, accepted, fits_in_float32, load_plain, logit_gap, probe_logits, tell
from kinnari.models.gguf import convert_gguf

log = logging.getLogger(__name__)


def export_gguf(
    trained: TrainedModel,
    plain: Path,
    folder: Path,
    kind: str,
    *,
    max_logit_gap: float | None = None,
    min_greedy_agreement: float | None = None,
) -> tuple[Path, GgufReport, LogitGap]:
    """Writes `folder/NAME-KIND.gguf` and a model card.

    Args:
        trained: for the tokenizer, the template of the probe and the card.
        plain: Hugging Face folder of the same model, merged.
        kind: one of `kinnari.export.gguf_tensors.KINDS`.
        max_logit_gap, min_greedy_agreement: see `kinnari.export.verify.accepted`.

    Returns:
        Folder, what was written, and the gap between `plain` and the file as transformers reads it.

    Raises:
        ConfigError: the format has no words for this architecture.
        ExportRejected: the gap is over a limit; nothing stays.
    """
    found: list[tuple[GgufReport, LogitGap]] = []

    def write(work: Path) -> None:
        config = AutoConfig.from_pretrained(plain)
        file = work / f"{trained.facts.name}-{kind}.gguf"
        report = write_gguf(plain, file, kind)
        log.info("reading %s back", file.name)
        start = config.decoder_start_token_id if config.is_encoder_decoder else None
        probe = make_probe(trained.tokenizer, trained.template, decoder_start=start)
        gap = tell(_gap(plain, file, probe, report.weights, config.is_encoder_decoder), f"GGUF {kind}")
        accepted(gap, kind, max_logit_gap=max_logit_gap, min_greedy_agreement=min_greedy_agreement).check(gap, f"The GGUF file in {kind}")
        model_card(trained.facts, "gguf", config.model_type, gap=gap, precision=f"GGUF {kind}").save(work / "README.md")
        found.append((report, gap))

    target = written_whole(folder, write)
    return target, *found[0]


def _gap(plain: Path, file: Path, probe: Probe, weights: int, seq2seq: bool) -> LogitGap:
    dtype = torch.float32 if fits_in_float32(weights) else torch.bfloat16
    expected = probe_logits(load_plain(plain, seq2seq=seq2seq, dtype=dtype), probe)
    gc.collect()
    cache = file.parent / "read_back"
    try:
        return logit_gap(expected, load_plain(convert_gguf(file, cache), seq2seq=seq2seq, dtype=dtype), probe)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
