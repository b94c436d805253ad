"""task=dpo: learn from preference pairs directly, from config to an adapter or a merged folder."""

from __future__ import annotations

import logging
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from kinnari.strategies.parallel import cluster_environment
from kinnari.strategies.reference_logprobs import ReferencePairs, contents_digest
from kinnari.tasks import build
from kinnari.tasks.pair_training import read_pairs, train_on_pairs
from kinnari.tasks.training import export_trained, need_decoder

log = logging.getLogger(__name__)

PROBED = 8  # held-out conversations on which the merge is compared


def dpo(cfg: DictConfig) -> dict[str, Any]:
    """Train, validate, export; returns what goes into result.json.

    Raises:
        ConfigError: data or weights cannot be used.
        RunStopped: the loss stayed non-finite, or a checkpoint could not be written.
    """
    parts = build.parts(cfg)
    need_decoder(parts, "dpo")
    tokenizer = build.tokenizer(cfg)
    data, total_steps = read_pairs(cfg, parts, tokenizer)
    model = build.tuned_model(cfg, parts, tokenizer)
    settings = build.fine_tuning_settings(cfg, parts, total_steps)
    pairs = _reference_pairs(cfg, parts, model, data, total_steps) if cfg.task.precompute_reference else None
    module: Any = get_class(cfg.task.module)(
        model, settings, beta=cfg.task.beta, label_smoothing=cfg.task.label_smoothing, reference_pairs=pairs
    )
    run = train_on_pairs(cfg, parts, module, data, total_steps)
    run.result["reference_computed"] = module.reference_computed
    export_trained(cfg, run.trainer, run.result, [pair.chosen for pair in data.held_out_pairs[:PROBED]], finished=run.finished)
    run.trainer.strategy.barrier()
    return run.result


def _reference_pairs(cfg: DictConfig, parts: build.Parts, model: Any, data: Any, total_steps: int) -> ReferencePairs:
    """The pairs of all planned steps and the held-out ones, and where what the reference says about them is kept."""
    plan, steps = data.plan, min(total_steps, data.plan.steps_per_epoch)
    shares = (plan.share(step, rank) for step in range(steps) for rank in range(parts.world_size))
    planned = {pair for share in shares for micro in share for row in micro for pair in row}
    tables = [(data.train_records, sorted(planned)), (data.held_out_records, range(len(data.held_out_records)))]
    folder = None
    root = build.prepared_folder(cfg)
    if root is not None and cluster_environment().global_rank() == 0:
        log.info("hashing the weights of the reference")
        names = contents_digest(model, [records for records, _ in tables], parts.precision)
        folder = root / "reference" / names
    return ReferencePairs(tables, data.pad_id, cfg.batch.micro_size, folder)
