"""Every source that reads files has example rows in its own layout, and takes all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate

from datamodules.examples import LAYOUTS, example_files
from datamodules.examples.texts import CHINESE, ENGLISH, JAPANESE, KOREAN, THAI
from datamodules.sources.ranked import RankedSource
from kinnari.errors import ConfigError
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Conversation
from kinnari.text.language import language_of
from kinnari.text.ranked import RankedAnswers

NODES = {
    f"{file.stem}.{name}": node
    for file in sorted((conf_folder() / "data").glob("*.yaml"))
    for name, node in yaml.safe_load(file.read_text("utf-8")).items()
    if "path" in node
}


def filled(node: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The node of a source with example files wherever it wants files."""
    source = node["_target_"].rpartition(".")[2]
    places = {key: str(example_files(source, folder, key)) for key in ("path", "target_path") if key in node}
    inner = {key: filled(value, folder) for key, value in node.items() if isinstance(value, dict) and "path" in value}
    return {**node, **places, **inner}


@pytest.mark.parametrize("name", NODES)
def test_every_row_is_taken_and_asks_something_of_its_own(name, tmp_path):
    source = instantiate(filled(NODES[name], tmp_path), _convert_="all", **({} if "name" in NODES[name] else {"name": name}))

    records = list(source.read())

    assert all(isinstance(record, Conversation) for record in records), records
    assert len({(m.content, m.context) for record in records for m in record.messages[:1]}) >= 6


@pytest.mark.parametrize("name", [name for name in NODES if name not in ("baike.baike",)])
def test_ranked_sources_have_a_better_and_a_worse_answer(name, tmp_path):
    source = instantiate(filled(NODES[name], tmp_path), _convert_="all", **({} if "name" in NODES[name] else {"name": name}))
    if isinstance(source, RankedSource):
        records = list(source.read_ranked())
        assert records and all(isinstance(record, RankedAnswers) and len(record.answers) > 1 for record in records)


def test_no_example_is_of_a_source_that_is_not_there():
    import datamodules.sources

    assert all(key.split(".")[0] in datamodules.sources.__all__ for key in LAYOUTS)


def test_the_facts_of_all_languages_are_the_same_ones_in_their_own_script():
    languages = {"en": ENGLISH, "th": THAI, "ko": KOREAN, "zh": CHINESE, "ja": JAPANESE}
    assert {len(facts) for facts in languages.values()} == {12}
    for language, facts in languages.items():
        assert language_of(" ".join(fact.statement for fact in facts)) == language
        texts = [(fact.question, fact.answer, fact.worse) for fact in facts]
        assert len({question for question, _, _ in texts}) == 12 and all(answer != worse for _, answer, worse in texts)


def test_a_source_without_examples_is_told_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"no example rows for path of the source Mine.*data\.NAME\.path"):
        example_files("Mine", tmp_path)
