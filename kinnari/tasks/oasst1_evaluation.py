"""task=oasst1_evaluation: a csv file of questions with the best-liked answers, to ask models and to judge them on."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kinnari.errors import ConfigError
from kinnari.evaluation.oasst1 import COLUMNS, select
from kinnari.tasks import build
from kinnari.text.tables import write_table

log = logging.getLogger(__name__)


def oasst1_evaluation(cfg: DictConfig) -> dict[str, Any]:
    """Read the messages of `data=oasst1`, write oasst1_selected.csv in the run's folder.

    Raises:
        ConfigError: another source than oasst1, or no row left.
    """
    sources = build.sources(cfg)
    if list(sources) != ["oasst1"]:
        raise ConfigError(
            f"task=oasst1_evaluation reads data=oasst1 alone, not {', '.join(sources)}. Add data=oasst1 data.oasst1.path=FILE."
        )
    rows = [row.value for _, row in sources["oasst1"].rows() if isinstance(row.value, dict)]
    languages = build.plain(cfg.task.languages)
    chosen = select(rows, languages)
    if not chosen:
        raise ConfigError(
            f"None of the {len(rows)} rows opens a tree in task.languages={languages} and has an answer. Name others, or null."
        )
    file = Path(cfg.output_dir) / "oasst1_selected.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, chosen, COLUMNS)
    counts = Counter(row["lang"] for row in chosen)
    log.info("%d questions (%s): %s", len(chosen), ", ".join(f"{name} {count}" for name, count in counts.items()), file)
    return {"rows": len(chosen), "languages": dict(counts), "output": str(file)}
