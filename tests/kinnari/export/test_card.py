"""The card tells what the run recorded, in a form the hub reads, and invents nothing."""

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from kinnari.export.card import CardFacts, model_card
from kinnari.export.merged import MergeReport
from kinnari.export.verify import LogitGap

SOURCES = {
    "thai": {
        "licence": "CC-BY-4.0", "rows_read": 100, "rejected": 3, "rejected_because": {"no answer": 3},
        "removed": {"short": {"th": 2, "en": 1}},
        "not_drawn": 0, "dropped": 0, "dropped_because": {}, "train": 90, "held_out": 4, "weight": 2.0, "languages": {"th": 92, "en": 2},
        "files": [{"file": "a.jsonl", "bytes": 7, "sha256": "ab" * 32}],
    },
    "korean": {"licence": "MIT", "rows_read": 10, "train": 10, "held_out": 0, "weight": 1.0, "languages": {"ko": 9, "unknown": 1},
               "files": []},
}  # fmt: skip
FULL = CardFacts(
    name="xglm-lora", base_model="facebook/xglm-564M", base="xglm564m", licence="MIT", notice="Read the  terms.", tuning="lora",
    sources=SOURCES, datasets=["owner/korean"], settings={"optimizer steps": 1000, "learning rate": 2e-05}, before={"loss": 3.0},
    after={"loss": 2.0, "perplexity": 7.389}, command="python launch.py model=xglm564m", versions={"torch": "2.13.0"},
)  # fmt: skip


def parsed(card):
    """Front matter as the hub's own parser and as plain YAML see it."""
    text = str(card)
    front = yaml.safe_load(text.split("---")[1])
    assert ModelCard(text).data.to_dict()["tags"] == front["tags"]
    return front, text


def test_front_matter_parses_with_licence_languages_and_data():
    front, _ = parsed(model_card(FULL, "merged", "xglm"))
    assert front["license"] == "mit" and front["base_model"] == "facebook/xglm-564M" and front["datasets"] == ["owner/korean"]
    assert front["language"] == ["en", "ko", "th"] and front["library_name"] == "transformers" and "lora" in front["tags"]
    metrics = {m["type"]: m["value"] for result in front["model-index"][0]["results"] for m in result["metrics"]}
    assert metrics == {"loss": 2.0, "perplexity": 7.389} and front["model-index"][0]["name"] == "xglm-lora"


def test_the_text_tells_sources_cleaning_settings_and_metrics():
    _, text = parsed(model_card(FULL, "merged", "xglm"))
    assert "| thai | CC-BY-4.0 | 100 | 6 | 90 | 4 | 2 | th 92, en 2 |" in text  # 3 rejected + 3 removed
    assert "| thai | short | 3 |" in text and "| thai | no answer | 3 |" in text and "`" + "ab" * 32 + "`" in text
    assert "| optimizer steps | 1,000 |" in text and "| learning rate | 2e-05 |" in text
    assert "| loss | 3 | 2 |" in text and "| perplexity | - | 7.389 |" in text
    assert "Read the terms." in text and "python launch.py model=xglm564m" in text and "| torch | 2.13.0 |" in text


def test_the_merge_is_told_with_its_numbers(tmp_path):
    report = MergeReport(tmp_path, "dequantised 4-bit", torch.bfloat16, 24, 100)
    gap = LogitGap(0.125, 0.995, 3.2, 400, "float32")
    _, text = parsed(model_card(FULL, "merged", "xglm", report=report, gap=gap))
    assert "| weights | bfloat16 |" in text and "dequantised 4-bit base" in text and "| layers merged | 24 |" in text
    assert "| largest logit gap to the trained model | 0.125 |" in text and "99.50% of 400 positions" in text


def test_what_is_unknown_is_left_out():
    front, text = parsed(model_card(CardFacts(name="m", licence="unstated"), "merged", "llama"))
    assert set(front) == {"library_name", "pipeline_tag", "tags"}
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# m", "## How to load"] and "None" not in text and "unstated" not in text


@pytest.mark.parametrize(("licence", "hub"), [("Apache-2.0", "apache-2.0"), ("Llama-2-Community", "llama2"), ("Gemma", "gemma")])
def test_licences_have_the_hubs_names(licence, hub):
    assert parsed(model_card(CardFacts(name="m", licence=licence), "merged", "llama"))[0]["license"] == hub


def test_a_licence_the_hub_does_not_list_keeps_its_own_name():
    front, _ = parsed(model_card(CardFacts(name="m", licence="BigScience-RAIL-1.0"), "merged", "bloom"))
    assert (front["license"], front["license_name"]) == ("other", "BigScience-RAIL-1.0")


@pytest.mark.parametrize(("model_type", "module"), [("pangu", "kinnari.models.pangu"), ("glm_chinese", "kinnari.models.glm")])
@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_families_of_our_own_are_imported_before_they_are_loaded(model_type, module, kind):
    code = str(model_card(FULL, kind, model_type)).split("```python")[1].split("```")[0]
    assert code.index(f"import {module}") < code.index("from_pretrained")
    compile(code, "card", "exec")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("adapter", "AutoPeftModelForSeq2SeqLM"),
        ("merged", "AutoModelForSeq2SeqLM"),
        ("gguf", "llama.cpp"),
        ("delta", "task=recover"),
        ("original_llama", "params.json"),
    ],
)
def test_every_kind_says_how_it_is_loaded(kind, word):
    assert word in str(model_card(CardFacts(name="m", seq2seq=True), kind, "t5")).split("## How to load")[1]
