"""The matrix of a sweep: rows by model and strategy, columns by machine, a cell for what cannot be launched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kinnari.tasks.plan_matrix import MATRIX, PAGE, matrix_page, write_matrix


def row(**changes: Any) -> dict[str, Any]:
    values = {"task": "sft", "model": "llama7b", "tuning": "lora", "parallel": "ddp", "hw": "v100x4", "devices": 4, "micro_size": 2,
              "global_size": 16, "max_length": 512, "gradient_checkpointing": False, "optimizer": "adamw", "fits": True,
              "peak_memory_gib": 25.93, "device_memory_gib": 32, "max_micro_size": 2, "hours_per_epoch": 1.5, "hours_of_run": 3.0,
              "energy_kwh": 1.8, "carbon_kg": 0.9, "advice": [], "refused": None}  # fmt: skip
    return values | changes


def test_each_machine_is_a_column_and_each_model_and_strategy_a_line():
    rows = [row(), row(hw="a100x4"), row(tuning="qlora"), row(tuning="qlora", hw="a100x4"), row(model="xglm7b")]
    page = matrix_page(rows)
    assert page.count("<tr>") == 1 + 3
    assert page.count('class="yes"') == 5 and page.count("<td></td>") == 1
    assert "<b>25.9 of 32 GiB</b> fits" in page and "1.50 h" in page and "1.80 kWh, 0.90 kg" in page


def test_only_settings_that_tell_rows_apart_are_named():
    assert "checkpointing" not in matrix_page([row(), row(tuning="qlora", gradient_checkpointing=True)])
    assert "micro_size=4" in matrix_page([row(), row(micro_size=4)])


def test_what_does_not_fit_says_what_would_and_what_is_refused_says_why():
    page = matrix_page(
        [row(fits=False, advice=["strategy=<qlora>  (6.2 GiB)"], max_micro_size=0), row(hw="t4", refused="no bfloat16 & more")]
    )
    assert "does not fit" in page and "not even one row" in page and "try strategy=&lt;qlora&gt;" in page
    assert '<td class="refused">no bfloat16 &amp; more</td>' in page


def test_jobs_of_an_earlier_sweep_in_the_folder_are_left_out(tmp_path: Path):
    for job in (0, 1, 2):
        (tmp_path / str(job)).mkdir()
        (tmp_path / str(job) / "plan.json").write_text(json.dumps({"row": row(micro_size=job)}), encoding="utf-8")
    rows = write_matrix(tmp_path, 1)
    assert [r["job"] for r in rows] == [0, 1]
    assert json.loads((tmp_path / MATRIX).read_text(encoding="utf-8")) == rows and (tmp_path / PAGE).is_file()
