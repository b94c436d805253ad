"""A file of prompts -> the same rows with the model's answers in a column more.

编号,Prompt,GPT - 3.5,参考回答,任务类型           ->     编号,Prompt,GPT - 3.5,xglm7b,参考回答,任务类型
lang,prompt                                   ->     lang,prompt,xglm7b
one prompt a line                             ->     prompt,xglm7b
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.text.tables import DELIMITERS, Record, need_columns, read_table, write_table

log = logging.getLogger(__name__)

PROMPTS = ("prompt", "question", "instruction", "query", "text", "คำสั่ง", "问题")
# Z-Bench as LM-Research-Hub keeps it ends in these two, before which it put its models' answers (evaluations/z-bench/*_new.csv).
ZBENCH_END = ("参考回答", "任务类型")
GRADE = "{model} 答案评分"

Answering = Callable[[Sequence[str]], list[dict[str, Any]]]


def answer_file(cfg: DictConfig, answer: Answering) -> dict[str, Any]:
    """Answer every row of `generate.input`, write `generate.output` or answers.* in the run's folder.

    Args:
        cfg: the whole configuration.
        answer: prompts -> rows with `answer`, and `error` where there is none.

    Returns:
        rows, answered, failed, output.

    Raises:
        ConfigError: a file that cannot be read or written, a column that is not there, or one that would be overwritten.
    """
    node, source = cfg.generate, Path(cfg.generate.input).expanduser()
    records = _records(source)
    records = records[: _limit(node.limit)]
    column = _prompt_column(records, node.prompt_column)
    name = str(node.answer_column or cfg.model.name)
    output = _output(cfg, source)
    if name in records[0] and not node.replace:
        raise ConfigError(
            f"generate.input={source} has a column {name!r} already. Give the answers another name with generate.answer_column=NAME, or "
            "set generate.replace=true to have it written anew."
        )
    place = _place(list(records[0]), node.insert_before)
    answers = answer([_question(record, column, node.context_column) for record in records])
    failed = [answer for answer in answers if answer.get("error")]
    added = _added(name, answers, grade=node.grade_column)
    columns = [c for c in records[0] if c not in added]
    at = columns.index(place) if place is not None else len(columns)
    columns[at:at] = list(added)
    rows = [record | {c: values[i] for c, values in added.items()} for i, record in enumerate(records)]
    output.parent.mkdir(parents=True, exist_ok=True)
    write_table(output, [{c: row.get(c, "") for c in columns} for row in rows], columns)
    for one in failed[:3]:
        log.warning("no answer to %r: %s", one["prompt"][:60], one["error"])
    log.info("%d rows, %d without an answer: %s", len(rows), len(failed), output)
    return {"rows": len(rows), "answered": len(rows) - len(failed), "failed": len(failed), "output": str(output), "answer_column": name}


def _records(source: Path) -> list[Record]:
    if source.suffix == ".txt" and source.is_file():
        try:
            lines = [{"prompt": line} for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ConfigError(f"generate.input={source} is not UTF-8 ({error}). Save it as that.") from error
        if lines:
            return [dict(line) for line in lines]
        raise ConfigError(f"generate.input={source} has no line with text. Give one prompt a line.")
    return read_table(source, "generate.input")


def _limit(limit: Any) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"generate.limit={limit} must be a whole number of at least 1, or null for every row.")
    return limit


def _prompt_column(records: Sequence[Record], named: str | None) -> str:
    if named is not None:
        need_columns(records, [named], "generate.input")
        return named
    found = [column for column in records[0] if column.strip().casefold() in PROMPTS]
    if len(found) != 1:
        raise ConfigError(
            f"generate.prompt_column is not set, and {'several columns look' if found else 'no column looks'} like prompts: the file has "
            f"{', '.join(map(repr, records[0]))}. Name one with generate.prompt_column=COLUMN."
        )
    return found[0]


def _question(record: Record, column: str, context: str | None) -> str:
    """The prompt, with its context under it where there is one."""
    if context is not None and context not in record:
        raise ConfigError(f"generate.context_column={context} is in no row like {', '.join(map(repr, record))}. Name one of these.")
    texts = [str(record[c]) for c in (column, context) if c is not None and record.get(c) is not None]
    return "\n".join(text for text in texts if text.strip())


def _place(columns: list[str], before: str | None) -> str | None:
    """The column in front of which answers stand; None for the end."""
    if before is None:
        return ZBENCH_END[0] if tuple(columns[-2:]) == ZBENCH_END else None
    if before not in columns:
        raise ConfigError(f"generate.insert_before={before} is no column; the file has {', '.join(map(repr, columns))}.")
    return before


def _added(name: str, answers: Sequence[dict[str, Any]], *, grade: bool) -> dict[str, list[str]]:
    """The new columns: an empty one for marks where it is wanted, the answers, the reasons of those that failed if any did."""
    added = {GRADE.format(model=name): [""] * len(answers)} if grade else {}
    shown = ["answer_translated" if "answer_translated" in answer else "answer" for answer in answers]
    added[name] = [answer[key] or "" for answer, key in zip(answers, shown, strict=True)]
    if any(answer.get("error") for answer in answers):
        added[f"{name}_error"] = [answer.get("error") or "" for answer in answers]
    return added


def _output(cfg: DictConfig, source: Path) -> Path:
    ending = source.suffix if source.suffix in DELIMITERS else ".csv" if source.suffix == ".txt" else ".jsonl"
    if cfg.generate.output is None:
        return Path(cfg.output_dir) / f"answers{ending}"
    output = Path(cfg.generate.output).expanduser()
    if output.suffix not in (*DELIMITERS, ".jsonl"):
        raise ConfigError(f"generate.output={output} must end in .csv, .tsv or .jsonl.")
    if output.resolve() == source.resolve():
        raise ConfigError(f"generate.output={output} is generate.input too. Give another file, so that the prompts are not lost.")
    return output
