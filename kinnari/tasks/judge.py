"""task=judge: two columns of answers, compared by a language model, or by replies that were stored.

output_dir/verdicts.jsonl   each row: both answers, verdict, scores, replies
           summary.json     figures overall and by language, the judge and its template, tokens and cost
           missing.jsonl    of a replay: requests that the cache has no reply to
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.completion.cached import NOT_STORED, CachedCompleter
from kinnari.completion.cost import Spent
from kinnari.completion.judge import PairJudge
from kinnari.errors import ConfigError, RunStopped
from kinnari.evaluation.judging.agreement import LABELS, agreement
from kinnari.evaluation.judging.figures import JudgedPair, by_language, named
from kinnari.evaluation.judging.template import JudgeTemplate
from kinnari.evaluation.judging.verdicts import Judgement, judgement
from kinnari.tasks import build
from kinnari.tasks.judge_backend import REPLAY, judge_completer
from kinnari.tasks.judge_rows import ComparedRow, compared_rows, two_columns, with_humans
from kinnari.tasks.judge_table import print_figures
from kinnari.text.progress import progress_line
from kinnari.text.tables import write_table

log = logging.getLogger(__name__)


def judge(cfg: DictConfig) -> dict[str, Any]:
    """Ask (or read), combine, count.

    Raises:
        ConfigError: a mistake in the section `judge`, its file or its cache.
        RunStopped: no reply came at all.
    """
    node, folder = build.plain(cfg.judge), Path(cfg.output_dir)
    template = judge_template(node["template"])
    names = two_columns(node["columns"], "judge")
    rows, left_out = compared_rows(node, "judge")
    if node["human"] is not None:
        said = with_humans(rows, node["human"])
        rows = [dataclasses.replace(row, human=said.get(row.id, row.human)) for row in rows]
    completer = None if node["replies_column"] else judge_completer(cfg)
    found = _read(rows, template) if completer is None else _asked(rows, template, completer, node["both_orders"])
    missing = _missing(rows, found)
    pairs = [_pair(row, one, row.id in missing) for row, one in zip(rows, found, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "verdicts.jsonl", [_line(row, one, pair, names) for row, one, pair in zip(rows, found, pairs, strict=True)])
    write_table(folder / "missing.jsonl", [{"id": name, "orders": orders} for name, orders in missing.items()])
    log.info("counting %d verdicts, with intervals", len(pairs))
    groups = by_language(pairs, cfg.seed)
    facts = {
        "first": names[0],
        "second": names[1],
        "model": completer.name if completer else node["replies_column"],
        "template": template.name,
        "rows": len(rows),
        "left_out": left_out,
        "identical": sum(one is None for one in found),
        "missing": len(missing),
        **(_spent(completer, node) if completer else {}),
    }
    summary = {**facts, "languages": groups, "human_table": _human_table(pairs)}
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print_figures(facts, groups)
    return named(groups) | {f"judge/{key}": value for key, value in facts.items()}


def judge_template(node: dict[str, Any]) -> JudgeTemplate:
    """Of the section `judge.template`.

    Raises:
        ConfigError: a field that there is none of, or one that cannot be.
    """
    values: dict[str, Any] = {key: tuple(value) if key == "scale" else value for key, value in node.items() if value is not None}
    try:
        return JudgeTemplate(**values)
    except TypeError:
        known = ", ".join(field.name for field in dataclasses.fields(JudgeTemplate))
        raise ConfigError(f"judge.template has {', '.join(node)}, and not all of these are parts of a template: {known}.") from None


def _read(rows: Sequence[ComparedRow], template: JudgeTemplate) -> list[Judgement | None]:
    """Of stored replies, which were given to the order of the columns."""
    return [judgement([row.reply or ""], [template.read(row.reply or "")]) for row in rows]


def _asked(rows: Sequence[ComparedRow], template: JudgeTemplate, completer: CachedCompleter, both_orders: bool) -> list[Judgement | None]:
    """Of the judge; None for equal answers, about which nobody is asked."""
    asked = [row for row in rows if row.pair.first != row.pair.second]
    pair_judge = PairJudge(completer, template, both_orders=both_orders)
    log.info("%d pairs, %d requests to %s", len(rows), len(asked) * (1 + both_orders), completer.name)
    with progress_line(f"asking {completer.name}", len(asked) * (1 + both_orders)) as advance:
        found = dict(zip((row.id for row in asked), pair_judge([row.pair for row in asked], advance), strict=True))
    done = completer.asked + completer.stored
    if done.requests and done.failed == done.requests:
        error = next(reply for one in found.values() for reply in one.replies)
        raise RunStopped(
            f"{completer.name} answered none of {done.requests} requests; the first error: {error}. The same command asks again."
        )
    return [found.get(row.id) for row in rows]


def _missing(rows: Sequence[ComparedRow], found: Sequence[Judgement | None]) -> dict[str, list[str]]:
    """Id -> orders whose reply a replay did not have."""
    orders = ("given", "swapped")
    missing = {row.id: [orders[i] for i, reply in enumerate(one.replies) if reply == NOT_STORED and one.readings[i].verdict is None]
               for row, one in zip(rows, found, strict=True) if one is not None}  # fmt: skip
    missing = {name: which for name, which in missing.items() if which}
    if missing:
        log.warning("the cache has no reply to %d requests about %d of %d rows; they are in missing.jsonl, and not counted",
                    sum(map(len, missing.values())), len(missing), len(rows))  # fmt: skip
    return missing


def _pair(row: ComparedRow, one: Judgement | None, incomplete: bool) -> JudgedPair:
    verdict = "tie" if one is None else one.verdict if one.is_read and not incomplete else None
    lengths = (len(row.pair.first), len(row.pair.second))
    return JudgedPair(language=row.language, judgement=one, verdict=verdict, scores=one.scores if one else None, lengths=lengths,
                      human=row.human)  # fmt: skip


def _line(row: ComparedRow, one: Judgement | None, pair: JudgedPair, names: tuple[str, str]) -> dict[str, Any]:
    better = {"first": names[0], "second": names[1], "tie": "tie", None: None}
    return {
        "id": row.id,
        "language": row.language,
        "category": row.pair.category,
        "prompt": row.pair.prompt,
        "first": row.pair.first,
        "second": row.pair.second,
        "verdict": pair.verdict,
        "better": better[pair.verdict],
        "scores": list(pair.scores) if pair.scores else None,
        "orders": [reading.verdict for reading in one.readings] if one else [],
        "replies": list(one.replies) if one else [],
        "human": row.human,
    }


def _spent(completer: CachedCompleter, node: dict[str, Any]) -> dict[str, Any]:
    """Requests, tokens and money: of all replies, and of what this run asked for."""
    every: Spent = completer.asked + completer.stored
    prices = (node["price_per_million_input"], node["price_per_million_output"])
    return {
        "requests": every.requests,
        "failed_requests": every.failed,
        "from_cache": completer.stored.requests,
        "input_tokens": every.input_tokens,
        "output_tokens": every.output_tokens,
        "estimated_tokens_in_requests": every.estimated,
        "cost": every.cost(*prices),
        "cost_of_this_run": completer.asked.cost(*prices),
        "replayed": node["judge"] == REPLAY,
    }


def _human_table(pairs: Sequence[JudgedPair]) -> dict[str, dict[str, int]] | None:
    """People's label -> the judge's -> how often."""
    labelled = [(pair.human, pair.verdict) for pair in pairs if pair.human is not None and pair.verdict is not None]
    found = agreement([human for human, _ in labelled], [verdict for _, verdict in labelled])
    if found is None:
        return None
    return {label: dict(zip(LABELS, row, strict=True)) for label, row in zip(LABELS, found.table, strict=True)}
