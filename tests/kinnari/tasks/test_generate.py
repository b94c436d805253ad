"""task=generate answers with the template of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinnari.tasks.compose import compose
from kinnari.tasks.generate import generate


@pytest.mark.parametrize("model", ["tiny_causal", "tiny_seq2seq"])
def test_every_prompt_is_answered_and_printed(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"model={model}", "generation.max_new_tokens=4", 'task.prompts=["Hi?","[bold]Why?"]', f"output_dir={tmp_path}"]
    result = generate(compose(["task=generate", *options]))
    assert [row["prompt"] for row in result["answers"]] == ["Hi?", "[bold]Why?"]
    assert all(row.keys() == {"prompt", "answer", "finished"} for row in result["answers"])
    assert "[bold]Why?" in capsys.readouterr().out
