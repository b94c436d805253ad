"""task=questionnaire: blind A/B sheets for people (export), and tables of what they answered (import).

export   output_dir/questionnaire.csv   to be filled in, one copy per annotator; key.csv says which system stood where, and stays at home
import   output_dir/majority.csv        votes and majority of every item, A being the first system; judge.human=FILE reads it
                    annotators.csv      a row for each annotator
                    summary.json        shares, agreement
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.evaluation.judging import crowd
from kinnari.evaluation.judging.agreement import LABELS
from kinnari.evaluation.judging.questionnaire import LAYOUTS, Item, is_summary, layout_of, sheet
from kinnari.tasks import build
from kinnari.tasks.judge_rows import compared_rows, two_columns
from kinnari.tasks.judge_table import print_people
from kinnari.text.tables import DELIMITERS, Record, read_table, write_table

log = logging.getLogger(__name__)


def questionnaire(cfg: DictConfig) -> dict[str, Any]:
    """What `task.mode` says.

    Raises:
        ConfigError: a mistake in the section `task` or its files.
    """
    node, folder = build.plain(cfg.task), Path(cfg.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if node["mode"] == "export":
        return _export(node, folder, cfg.seed)
    if node["mode"] == "import":
        return _import(node, folder)
    raise ConfigError(f"task.mode={node['mode']} is unknown; choose export or import.")


def _export(node: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    if node["language"] not in LAYOUTS:
        raise ConfigError(f"task.language={node['language']} has no questionnaire; choose one of {', '.join(LAYOUTS)}.")
    names = two_columns(node["columns"], "task")
    rows, left_out = compared_rows(node, "task")
    items = [Item(id=row.id, prompt=row.pair.prompt, first=row.pair.first, second=row.pair.second) for row in rows]
    filled, key = sheet(items, names, LAYOUTS[node["language"]], seed)
    write_table(folder / "questionnaire.csv", filled)
    write_table(folder / "key.csv", key)
    log.info("%d questions in %s; keep key.csv from those who answer", len(filled), folder / "questionnaire.csv")
    return {"questions": len(filled), "left_out": left_out, "sheet": str(folder / "questionnaire.csv"), "key": str(folder / "key.csv")}


def _import(node: dict[str, Any], folder: Path) -> dict[str, Any]:
    files = {str(path): _sheet(path) for path in _files(node["answers"])}
    names, key = crowd.read_key(_rows(node["key"], "task.key"), node["key"]) if node["key"] else (("A", "B"), None)
    summaries = [path for path, rows in files.items() if is_summary(rows[0])]
    if summaries and len(files) > 1:
        raise ConfigError(f"{summaries[0]} holds counts over annotators; such a summary stands alone, or give the sheets without it.")
    answers = [] if summaries else [crowd.read_answers(name, files[path], key) for path, name in _names(list(files)).items()]
    votes = crowd.read_votes(summaries[0], files[summaries[0]], key) if summaries else crowd.votes_of(answers)
    if not votes.counts.sum():
        raise ConfigError("None of task.answers holds an answer: the column with the choices is empty in every row.")
    first = next(iter(files.values()))
    write_table(folder / "majority.csv", _majority_rows(votes, [row for rows in files.values() for row in rows], first[0], names, key))
    annotators = crowd.annotator_rows(answers)
    if annotators:
        write_table(folder / "annotators.csv", annotators)
    result = _figures(votes, names) | {"annotators": annotators} | crowd.agreement_of(answers, votes)
    (folder / "summary.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _show(result, names)
    return result


def _files(answers: Any) -> list[Path]:
    """Of a list, a file or a folder, in order of names."""
    if not answers:
        raise ConfigError("task.answers is not set. Give the filled-in sheets: task.answers=[sheet_1.csv,sheet_2.csv], or their folder.")
    places = [Path(place).expanduser() for place in (answers if isinstance(answers, list) else [answers])]
    files = [file for place in places for file in (_tables(place) if place.is_dir() else [place])]
    if not files:
        raise ConfigError(f"task.answers={answers} holds no csv or tsv file.")
    return files


def _tables(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in DELIMITERS)


def _sheet(path: Path) -> list[Record]:
    """A filled-in sheet or a summary, every row with its id."""
    rows = _rows(path, "task.answers")
    id_column = layout_of(rows[0], str(path), summary=is_summary(rows[0])).id
    for number, row in enumerate(rows, 1):
        if not str(row[id_column] or "").strip():
            raise ConfigError(
                f"task.answers={path}: filled row {number} below the header has no {id_column}, by which it is known what was asked. "
                "Copy it from the questionnaire, or empty the row."
            )
    return rows


def _rows(path: Path | str, option: str) -> list[Record]:
    """Of a file, without the empty rows that spreadsheet programs leave at the end or between."""
    rows = [row for row in read_table(path, option) if any(str(cell or "").strip() for cell in row.values())]
    if not rows:
        raise ConfigError(f"{option}={path} has a header, and below it empty rows alone. Give a sheet with questions.")
    return rows


def _names(paths: list[str]) -> dict[str, str]:
    """Each file's stem, or its whole path where two have the same."""
    stems = [Path(path).stem for path in paths]
    return {path: stem if stems.count(stem) == 1 else path for path, stem in zip(paths, stems, strict=True)}


def _majority_rows(
    votes: crowd.Votes, rows: list[Record], header: Record, names: tuple[str, str], key: dict[str, bool] | None
) -> list[dict[str, Any]]:
    """The summary in the layout of the sheets, unblinded, with the systems' names."""
    layout = layout_of(header, "task.answers", summary=is_summary(header))
    texts: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        item = str(row[layout.id])
        prompt, a, b = (str(row.get(column) or "") for column in (layout.prompt, layout.answer_a, layout.answer_b))
        texts.setdefault(item, (prompt, b, a) if key is not None and key.get(item) else (prompt, a, b))
    named = {"A": names[0], "B": names[1]}
    return [crowd.summary_row(layout, item, texts[item], row) | named
            for item, row in zip(votes.ids, votes.counts.tolist(), strict=True) if sum(row)]  # fmt: skip


def _figures(votes: crowd.Votes, names: tuple[str, str]) -> dict[str, Any]:
    """Shares of all votes, and of the items by majority."""
    majority = list(votes.majority().values())
    by_vote = votes.counts.sum(0).tolist()
    by_item = [majority.count(label) for label in LABELS]
    return {
        "first": names[0],
        "second": names[1],
        "items": len(majority),
        "votes": int(np.sum(by_vote)),
        **{f"votes/{label}": share for label, share in crowd.shares(by_vote).items()},
        **{f"majority/{label}": share for label, share in crowd.shares(by_item).items()},
    }


def _show(result: dict[str, Any], names: tuple[str, str]) -> None:
    def cell(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    header = ("", "n", names[0], names[1], "tie")
    rows = [(f"{name}", str(result[total]), *(cell(result[f"{name}/{label}"], ".1%") for label in LABELS))
            for name, total in (("votes", "votes"), ("majority", "items"))]  # fmt: skip
    print_people("What people said", header, rows)
    if result["annotators"]:
        columns = ("annotator", "n", *LABELS, "agreement_with_others", "kappa_with_others")
        table = [
            [row["annotator"], *(str(row[c]) for c in columns[1:5]), *(cell(row[c], ".3f") for c in columns[5:])]
            for row in result["annotators"]
        ]
        print_people("Annotators", ("", "n", *names, "tie", "with the others' majority", "kappa"), table)
    names_of = {
        "fleiss_kappa": "Fleiss' kappa",
        "krippendorff_alpha": "Krippendorff's alpha",
        "mean_cohen_kappa": "mean Cohen's kappa of two",
    }
    print_people("Agreement between annotators", ("", ""), [(label, cell(result[key], ".3f")) for key, label in names_of.items()])
