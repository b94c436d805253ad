"""10,000 damaged rows over every source that reads files: none stops a run, each is kept or rejected with a reason."""

from __future__ import annotations

import importlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import instantiate

from datamodules.reading import read_rows
from datamodules.sources import FileSource
from datamodules.sources.ranked import RankedSource
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Conversation, Reject
from tests.datamodules.mutations import damaged_file
from tests.datamodules.sources.read_source import written
from tests.kinnari.text.test_template import chatml

DAMAGED = 10_000


def examples() -> dict[str, dict[str, Any]]:
    """Valid rows of every source, from the files examples_*.py beside this one."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(__file__).parent.glob("examples_*.py")):
        found |= importlib.import_module(f"tests.datamodules.{file.stem}").EXAMPLES
    return found


def options() -> dict[str, dict[str, Any]]:
    """option -> its configuration, for those options that read files of the user: one source in it has a `path`."""
    files = {f.stem: yaml.safe_load(f.read_text(encoding="utf-8")) for f in sorted((conf_folder() / "data").glob("*.yaml"))}
    return {option: content for option, content in files.items() if any("path" in source for source in content.values())}


EXAMPLES, OPTIONS = examples(), options()
EACH = -(-DAMAGED // len(OPTIONS))


def test_every_option_that_reads_files_has_example_rows():
    assert set(OPTIONS) <= set(EXAMPLES), set(OPTIONS) - set(EXAMPLES)


def sources(option: str, folder: Path, count: int, seed: str) -> list[Any]:
    """The sources of an option, over its example rows and `count` damaged ones."""
    example = EXAMPLES[option]
    path = _one_file(example, folder, count, seed) if "rows" in example else _folder(example, folder, count, seed)
    others = {name: written(folder, rows, example["suffix"], name=name) for name, rows in example.get("others", {}).items()}
    built = []
    for config in OPTIONS[option].values():
        config = {**config, "path": str(path), **{name: file for name, file in others.items() if name in config}}
        if isinstance(config.get("originals"), dict):
            rows = example["originals"].get(config["originals"]["_target_"].rpartition(".")[2], example["rows"])
            config["originals"] = {**config["originals"], "path": written(folder, rows, ".jsonl", name=config["name"])}
        built.append(instantiate(config, _convert_="all"))
    return built


def _one_file(example: dict[str, Any], folder: Path, count: int, seed: str) -> Path:
    suffix = ".jsonl" if example["suffix"] == ".json" else example["suffix"]
    path = folder / f"rows{suffix}"
    path.write_bytes(damaged_file(example["rows"], suffix, count, random.Random(seed)))
    return path


def _folder(example: dict[str, Any], folder: Path, count: int, seed: str) -> Path:
    """Files whose names say something; the rows of a json list each on a line of their own."""
    draw = random.Random(seed)
    for name, text in example["files"].items():
        path = folder / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        value = json.loads(text) if path.suffix == ".json" else text.splitlines()
        path.write_bytes(damaged_file(value if isinstance(value, list) else [value], path.suffix, -(-count // len(example["files"])), draw))
    return folder / "copy"


@pytest.mark.parametrize("option", [option for option in OPTIONS if option in EXAMPLES])
def test_damaged_rows_are_kept_or_rejected_with_a_reason(option, tmp_path):
    template = chatml()
    for source in sources(option, tmp_path, EACH, option):
        records = list(source.read())

        for record in [*records, *(source.read_ranked() if isinstance(source, RankedSource) else ())]:
            if isinstance(record, Reject):
                assert record.reason.strip() and len(record.reason) < 2_000
                json.dumps(vars(record), ensure_ascii=False).encode()
                continue
            messages = record.messages if isinstance(record, Conversation) else record.prompt
            # Two texts without a question to them have no prompt; they are compared, never rendered.
            "".join(segment.text for segment in (template.render(messages) if messages else ())).encode()
            said = [text for m in messages for text in (m.content, m.context)]
            said += [] if isinstance(record, Conversation) else [answer.answer for answer in record.answers]
            assert all(isinstance(text, str) for text in said)
            "".join(said).encode()
        assert any(isinstance(record, Conversation) for record in records) or option == "wangchan_translated_parts"
        if type(source).read is FileSource.read and type(source).rows is FileSource.rows:
            assert len(records) == sum(1 for _ in read_rows(source.path)) > EACH * 0.5


def test_the_damage_is_the_same_every_time():
    first, second = (damaged_file([{"a": "b"}], ".jsonl", 50, random.Random("x")) for _ in range(2))

    assert first == second and first.count(b"\n") > 40
