"""WangChanGLM's English set from five raw files in their own layouts: the counts rule by rule, the order, the number held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.run import run

LONG = "long " * 120  # 600 bytes: over 512 tokens of the byte tokenizer
DRAWN, HELD_OUT = 20, 7


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"text": f"<human>: {question}\n<bot>: {answer}", "metadata": {"source": "unified"}}


def raw_rows() -> dict[str, list[dict[str, Any]]]:
    """30 chip2 (2 long), 11 dolly (1 long, 1 without a response), 12 hc3 (3 long), 8 infill (1 long), 40 tl;dr (10 ask, 7 long)."""
    dolly = [
        {"instruction": f"dolly {i}", "context": "ctx" * (i % 2), "response": LONG if i == 4 else "r", "category": "qa"} for i in range(10)
    ]
    infill = [
        {"text": f"Background: {LONG if i == 7 else 'A town.'}\n<human>: infill {i}\n<bot>: Yes.", "metadata": {"source": "i"}}
        for i in range(8)
    ]
    return {
        "oig_chip2": [chat(f"chip2 {i}", LONG if i in (3, 9) else f"answer {i}") for i in range(30)],
        "dolly": [*dolly, {"instruction": "dolly 10", "context": "", "response": "", "category": "qa"}],
        "hc3": [chat(f"hc3 {i}", LONG if i < 3 else "people said so") for i in range(12)],
        "oig_infill_dbpedia": infill,
        "openai_tldr": [chat(f"post {i}", "is it?" if i % 4 == 0 else LONG if i % 6 == 1 else f"summary {i}") for i in range(40)],
    }


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> tuple[list[str], Path]:
    folder = tmp_path_factory.mktemp("wangchan")
    paths = []
    for name, rows in raw_rows().items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(f"data.{name}.path={folder / name}.jsonl")
    small = [f"data.openai_tldr.limit={DRAWN}", f"held_out.most={HELD_OUT}", "model=tiny_causal", "model/template=wangchan"]
    return ["experiment=wangchanglm_data", *paths, *small, f"preparation.cache_dir={folder / 'cache'}"], folder


@pytest.fixture(scope="module")
def outcome(recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    settings, folder = recipe
    run(compose([*settings, f"output_dir={folder / 'out'}"]))
    return tuple(json.loads((folder / "out" / name).read_text(encoding="utf-8")) for name in ("result.json", "data_card.json"))  # type: ignore[return-value]


def drawn_summaries() -> list[int]:
    """The posts that pandas draws among those that do not ask, as the original notebook did."""
    stating = pd.Series([i for i in range(40) if i % 4])
    return sorted(stating.sample(n=DRAWN, random_state=125))


def test_the_settings_are_those_of_the_recipe():
    cfg = compose(["experiment=wangchanglm_data", *(f"data.{name}.path=FILE" for name in raw_rows())])
    assert list(cfg.data) == ["oig_chip2", "dolly", "hc3", "oig_infill_dbpedia", "openai_tldr"]
    assert (cfg.model.max_length, cfg.limits.truncation, cfg.held_out.fraction, cfg.held_out.most) == (512, "drop", None, 1538)
    assert (cfg.data.openai_tldr.limit, cfg.data.openai_tldr.limit_seed, cfg.seed) == (30_000, 125, 125)
    assert cfg.model.template.name == "wangchan" and cfg.task.name == "prepare"


def test_counts_rule_by_rule(outcome):
    result, card = outcome
    long_summaries = sum(i % 6 == 1 for i in drawn_summaries())
    expected = {  # rows read, unreadable or asking, not drawn, over 512 tokens
        "oig_chip2": (30, 0, 0, 2),
        "dolly": (11, 1, 0, 1),
        "hc3": (12, 0, 0, 3),
        "oig_infill_dbpedia": (8, 0, 0, 1),
        "openai_tldr": (40, 10, 10, long_summaries),
    }
    found = {name: (s["rows_read"], s["rejected"], s["not_drawn"], s["dropped"]) for name, s in card["sources"].items()}
    assert found == expected
    for name, (rows, rejected, not_drawn, dropped) in expected.items():
        assert card["sources"][name]["train"] + card["sources"][name]["held_out"] == rows - rejected - not_drawn - dropped
    assert result["rows_kept"] == sum(rows - rejected - not_drawn - dropped for rows, rejected, not_drawn, dropped in expected.values())
    assert result["cut"] == 0, "what is too long is left out, not cut"


def test_exactly_so_many_are_held_out(outcome):
    result, _ = outcome
    assert result["held_out"] == HELD_OUT and result["train"] + result["held_out"] == result["rows_kept"]


def test_the_order_is_that_of_the_files_and_summaries_are_those_pandas_draws(recipe, outcome):
    settings, folder = recipe
    cfg = compose([*settings, f"output_dir={folder / 'again'}"])
    data = build.datamodule(cfg, build.tokenizer(cfg))
    data.setup()

    assert data.prepared.found
    sources = [c.source for c in data.prepared.conversations]
    assert sources == sorted(sources, key=list(cfg.data).index)
    assert Counter(sources) == {"oig_chip2": 30, "dolly": 10, "hc3": 12, "oig_infill_dbpedia": 8, "openai_tldr": DRAWN}
    posts = [int(c.record_id.split(":")[1]) for c in data.prepared.conversations if c.source == "openai_tldr"]
    assert posts == drawn_summaries()
    infill = next(c for c in data.prepared.conversations if c.source == "oig_infill_dbpedia")
    assert infill.messages[0].context == "A town."
