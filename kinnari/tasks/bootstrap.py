"""task=bootstrap: instruction data out of seed tasks, with any endpoint or local model as the generator.

output_dir/instructions.jsonl   {"instruction", "input", "output", "most_similar_instructions", "avg_similarity_score", ...}
           rejects.jsonl        {"request_idx", "reason", "text", ...}
           summary.svg          kept and rejected by reason, lengths, similarities
           journal.jsonl        what was asked and answered; the same command goes on from it
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.bootstrap.alpaca import AlpacaStyle
from kinnari.bootstrap.candidates import Style
from kinnari.bootstrap.filters import InstructionFilters
from kinnari.bootstrap.finishing import Finishing, InstanceSettings
from kinnari.bootstrap.growth import Growth, GrowthSettings
from kinnari.bootstrap.journal import Journal, sole_writer
from kinnari.bootstrap.picture import summary_picture
from kinnari.bootstrap.seeds import SeedTask, by_language, read_seed_tasks
from kinnari.bootstrap.self_instruct import SelfInstructStyle
from kinnari.completion.completer import Completer
from kinnari.errors import ConfigError, RunStopped
from kinnari.tasks import build
from kinnari.tasks.completers import ChatCompleter, completer, completion_settings, is_endpoint
from kinnari.text.progress import progress_line

log = logging.getLogger(__name__)

STYLES = ("alpaca", "self_instruct")
FEWEST_REQUESTS = 20  # made before giving up, unless the user says how many
# What may differ between the processes that write one folder.
_MAY_CHANGE = {"num_instructions", "max_requests", "requests_per_round", "generator", "api_key_env", "parallel", "timeout_s", "attempts",
               "batch_size"}  # fmt: skip
_NO_CANDIDATES = ("not_needed", "request_failed", "no_instance")


def bootstrap(cfg: DictConfig) -> dict[str, Any]:
    """Grow `bootstrap.num_instructions` instructions into `output_dir`, going on from what is there.

    Raises:
        ConfigError: a mistake in the settings or the seed file, or a folder of another bootstrap.
        RunStopped: the generator answers nothing any more.
    """
    if cfg.get("bootstrap") is None:
        raise ConfigError(f"task=bootstrap has no settings; add bootstrap= with one of {', '.join(STYLES)}.")
    node, folder = build.plain(cfg.bootstrap), Path(cfg.output_dir)
    seeds = read_seed_tasks(node["seed_tasks"])
    style, shown, least = _style(node, seeds)
    groups = by_language(shown, least, node["languages"])
    filters = InstructionFilters(**node["filters"])
    settings, decoding, finishing = growth_settings(node, cfg.seed), completion_settings(node["decoding"]), _instance_settings(node)
    with sole_writer(folder):
        generator = _generator(cfg)
        journal = Journal(folder, _identity(cfg, seeds, generator.name))
        compared = [seed.instruction for seed in seeds]
        growth = Growth(style, groups, compared, filters, generator, decoding, settings, journal, folder, whole_rows=finishing is None)
        rows = _grow(growth, seeds, finishing)
        (folder / "summary.svg").write_text(summary_picture(growth.kept, growth.rejected), encoding="utf-8")
    return _result(growth, rows)


def growth_settings(node: dict[str, Any], seed: int) -> GrowthSettings:
    """How many instructions, and after how many requests it ends without them."""
    wanted, most = node["num_instructions"], node["max_requests"]
    if most is None and isinstance(wanted, int):
        most = max(FEWEST_REQUESTS, wanted)
    return GrowthSettings(num_instructions=wanted, max_requests=most, requests_per_round=node["requests_per_round"], seed=seed)


def _style(node: dict[str, Any], seeds: Sequence[SeedTask]) -> tuple[Style, list[SeedTask], int]:
    """The style, the seeds it draws from, and how many of them a prompt shows."""
    if node["style"] == "alpaca":
        return AlpacaStyle(header=node["header"], num_seeds=node["num_seeds"]), list(seeds), node["num_seeds"]
    if node["style"] != "self_instruct":
        raise ConfigError(f"bootstrap.style={node['style']} is unknown; choose bootstrap=alpaca or bootstrap=self_instruct.")
    only = node["classification_only"]
    header = node["classification_only_header"] if only else node["header"]
    style = SelfInstructStyle(header=header, in_context=node["num_in_context"], machine=node["num_machine"])
    return style, [seed for seed in seeds if seed.is_classification or not only], node["num_in_context"]


def _instance_settings(node: dict[str, Any]) -> InstanceSettings | None:
    if node["style"] != "self_instruct":
        return None
    names = [field.name for field in dataclasses.fields(InstanceSettings)]
    values: dict[str, Any] = {name: completion_settings(node[name]) if name.endswith("_decoding") else node[name] for name in names}
    return InstanceSettings(**values)


def _generator(cfg: DictConfig) -> Completer:
    generator = completer(cfg, "bootstrap")
    # A local model continues bare text unless a chat is asked for; an endpoint knows its own way.
    return ChatCompleter(generator) if cfg.bootstrap.chat and not is_endpoint(cfg.bootstrap.generator) else generator


def _identity(cfg: DictConfig, seeds: Sequence[SeedTask], generator: str) -> dict[str, Any]:
    """The settings that all instructions of one folder share."""
    node = {name: value for name, value in build.plain(cfg.bootstrap).items() if name not in _MAY_CHANGE}
    content = json.dumps([[seed.id, seed.instruction, [vars(i) for i in seed.instances], seed.language] for seed in seeds])
    return node | {"seed": cfg.seed, "generator_model": generator, "seed_tasks": hashlib.sha256(content.encode()).hexdigest()}


def _grow(growth: Growth, seeds: Sequence[SeedTask], finishing: InstanceSettings | None) -> int:
    """Rows written."""
    with progress_line("instructions", growth.settings.num_instructions) as advance:
        growth.run(advance)
    if not growth.kept and growth.rejected and all(row["reason"] == "request_failed" for row in growth.rejected):
        raise RunStopped(
            f"The generator answered none of {growth.requests} requests; the last error: {growth.rejected[-1].get('detail')}. Look at "
            "bootstrap.generator, bootstrap.generator_model and the key; the same command with this output_dir goes on."
        )
    if not growth.complete:
        log.warning(
            "bootstrap.max_requests=%d is reached with %d of %d instructions. rejects.jsonl says why the others were left out; the same "
            "command with a higher bootstrap.max_requests and this output_dir goes on. A base or small model often cannot follow "
            "the prompt: try a larger one.",
            growth.settings.max_requests, len(growth.kept), growth.settings.num_instructions,
        )  # fmt: skip
    if finishing is None:
        return len(growth.kept)
    with progress_line("inputs and outputs", 2 * len(growth.kept)) as advance:
        return len(Finishing(growth, seeds, finishing).run(advance))


def _result(growth: Growth, rows: int) -> dict[str, Any]:
    reasons = Counter(str(row["reason"]) for row in growth.rejected)
    # Those that only came too late have passed every rule; requests that failed and instances are no candidates.
    passed = len(growth.kept) + reasons["not_needed"]
    failed = sum(count for reason, count in reasons.items() if reason not in _NO_CANDIDATES and not reason.startswith("instance_"))
    return {
        "complete": growth.complete,
        "instructions": len(growth.kept),
        "rows": rows,
        "requests": growth.requests,
        "rejected": dict(reasons.most_common()),
        "acceptance_rate": passed / (passed + failed) if passed + failed else None,
        "languages": dict(Counter(row["language"] or "unknown" for row in growth.kept).most_common()),
        "generator": growth.completer.name,
    }
