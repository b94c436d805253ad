"""`debug=shrunk`: the whole recipe of a model that no laptop holds, with nothing downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from kinnari.tasks.compose import compose
from kinnari.tasks.run import run


@pytest.fixture(autouse=True)
def _nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("KINNARI_CACHE", str(tmp_path / "cache"))

    def refuse(*args, **kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)


def test_llama_65b_runs_from_data_to_merged_folder(tmp_path):
    folder = tmp_path / "run"
    choices = ["model=llama65b", "strategy=qlora", "debug=shrunk"]
    run(compose([*choices, "trainer.max_steps=2", "data.chatterbot.limit=60", f"output_dir={folder}"]))

    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done" and result["steps"] == 2
    base = json.loads((folder / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base).is_relative_to(tmp_path / "cache")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    assert (merged.config.model_type, merged.config.hidden_size, merged.config.vocab_size) == ("llama", 64, 262)
