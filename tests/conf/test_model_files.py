"""What the files of conf/model say about published checkpoints is true of the architecture built from their shapes."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import kinnari.models.glm
import kinnari.models.pangu  # noqa: F401  makes the family known
from kinnari.models.shrink import architecture_config
from kinnari.models.spec import ModelSpec
from kinnari.models.toy import empty_model
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.config_errors import groups
from tests.end_to_end.shrunk_models import ENCODERS, MODELS, shrunk_config, shrunk_spec

DOCS = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
PUBLISHED = [name for name in MODELS if name != "other" and not name.startswith("tiny_")]
# Numbers as they are generally stated for these checkpoints, noted down before the shapes were counted; not looked up again here.
COUNTED_BY_OTHERS = {
    "xglm564m": 564_463_616, "xglm1_7b": 1_732_907_008,
    "llama7b": 6_738_415_616, "llama13b": 13_015_864_320, "llama30b": 32_528_943_616, "llama65b": 65_285_660_672,
    "llama2_7b": 6_738_415_616, "llama2_70b": 68_976_648_192, "llama3_1_8b": 8_030_261_248, "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824, "bloomz560m": 559_214_592, "bloomz1b1": 1_065_314_304, "bloomz1b7": 1_722_408_960,
    "bloomz3b": 3_002_557_440, "bloomz7b1": 7_069_016_064, "falcon7b": 6_921_720_704, "falcon40b": 41_303_293_952,
    "qwen2_5_0_5b": 494_032_768, "qwen2_5_1_5b": 1_543_714_304, "qwen2_5_3b": 3_085_938_688, "qwen2_5_7b": 7_615_616_512,
    "qwen3_0_6b": 596_049_920, "qwen3_4b": 4_022_468_096, "qwen3_8b": 8_190_735_360, "qwen3_14b": 14_768_307_200,
    "smollm2_135m": 134_515_008, "smollm2_360m": 361_821_120, "smollm2_1_7b": 1_711_376_384, "smollm3_3b": 3_075_098_624,
    "gemma3_270m": 268_098_176, "gemma3_1b": 999_885_952, "gemma2_2b": 2_614_341_888, "mistral7b": 7_248_023_552,
    "exaone4_1_2b": 1_279_391_488, "polyglot_ko_1_3b": 1_331_810_304, "polyglot_ko_5_8b": 5_885_059_072,
    "glm4_9b": 9_399_951_360, "glm4_0414_9b": 9_400_279_040,
    "flan_t5_small": 76_961_152, "flan_t5_base": 247_577_856, "flan_t5_large": 783_150_080, "flan_t5_xl": 2_849_757_184,
    "flan_t5_xxl": 11_135_332_352, "mt5_small": 300_176_768, "mt5_base": 582_401_280, "mt5_xxl": 12_921_057_280,
    "byt5_small": 299_637_760, "byt5_base": 581_653_248,
    # 278,043,648 and 559,890,432 with a pooling layer of H * H + H, which is left out here
    "xlm_roberta_base": 278_043_648 - 768 * 769, "xlm_roberta_large": 559_890_432 - 1024 * 1025,
}  # fmt: skip


class Built(NamedTuple):
    """What is to know of the real architecture: its class, parameters, classes of its modules, last parts of their names."""

    model_class: str
    parameters: int
    classes: frozenset[str]
    names: frozenset[str]


@cache
def built(name: str) -> Built:
    """Of the real architecture at its real size, without memory."""
    spec = shrunk_spec(name)
    shapes = spec.toy or spec.config or {}
    with torch.device("meta"):
        model = empty_model(architecture_config(shapes), spec.architecture, tied=shapes.get("tie_word_embeddings"))
    modules = dict(model.named_modules())
    return Built(
        type(model).__name__,
        sum(parameter.numel() for parameter in model.parameters()),
        frozenset(type(module).__name__ for module in modules.values()),
        frozenset(key.rpartition(".")[2] for key in modules),
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shapes_make_as_many_parameters_as_the_file_says(name):
    spec, real = shrunk_spec(name), built(name)
    assert real.parameters == spec.parameters == COUNTED_BY_OTHERS.get(name, spec.parameters)
    assert real.classes >= set(spec.block_classes)
    assert real.names >= set(spec.lora_targets)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_name_agrees_with_the_count(name):
    spec = shrunk_spec(name)
    sizes = re.findall(r"(?<![\w.])(\d+(?:[._]\d+)?)(b|m)(\d?)(?![a-z])", re.sub(r"[-/]", " ", str(spec.path or spec.package)).lower())
    if not sizes:  # small, base, large, xl: compared with numbers that others counted
        assert "t5" in name or "mt0" in name or name in ENCODERS or spec.package is not None
        return
    number, unit, tenth = sizes[-1]
    size = float(f"{number.replace('_', '.')}{'.' + tenth if tenth else ''}") * {"b": 1e9, "m": 1e6}[unit]
    assert 0.9 < spec.parameters / size < 1.31


def test_what_is_known_of_a_checkpoint_is_stated():
    specs = {name: shrunk_spec(name) for name in PUBLISHED}
    assert {name for name, spec in specs.items() if spec.path is None} == {"smollm2_135m", "gemma3_270m"}
    assert not [name for name, spec in specs.items() if spec.trust_remote_code or spec.dtype != "auto" or spec.attention != "auto"]
    paths = Counter(spec.path for spec in specs.values() if spec.path)
    assert set(paths.values()) == {1} and all(re.fullmatch(r"[\w.-]+/[\w.-]+", path) for path in paths)


@pytest.mark.parametrize("name", PUBLISHED)
def test_terms_are_shown_unless_the_licence_is_free(name):
    spec = shrunk_spec(name)
    assert (spec.notice is None) == (spec.licence in ("Apache-2.0", "MIT"))


@pytest.mark.parametrize("name", MODELS)
def test_records_fit_into_the_positions(name):
    spec = shrunk_spec(name)
    config = architecture_config(spec.toy or spec.config or {})
    positions = config.to_dict().get(config.attribute_map.get("max_position_embeddings", "max_position_embeddings"))
    assert positions is None or spec.max_length <= positions


def test_encoders_are_told_apart():
    assert {name for name in MODELS if shrunk_spec(name).architecture == "encoder"} == set(ENCODERS)


def test_every_family_is_used_and_can_be_chosen_for_another_checkpoint():
    text = "\n".join(path.read_text("utf-8") for path in (Path(__file__).parents[2] / "conf" / "model").rglob("*.yaml"))
    unused = [family for family in groups()["model/family"] if not re.search(rf"^  - (family: )?{family}$", text, re.MULTILINE)]
    assert unused == []
    chosen: ModelSpec = build.model_spec(compose(["model=other", "model/family=qwen2", "model.path=FOLDER"]))
    assert (chosen.block_classes, chosen.packing) == (["Qwen2DecoderLayer"], "position_ids")


# --- docs/models.md -------------------------------------------------------------------------------------------------------

ROWS = {
    cells[0].strip("`"): cells[1:]
    for cells in ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in DOCS.splitlines() if line.startswith("| `"))
    if len(cells) == 6
}


def test_the_table_names_every_file():
    assert sorted(ROWS) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_says_what_the_file_says(name):
    spec = shrunk_spec(name)
    parameters, licence, languages, template, model_class = ROWS[name]
    count = spec.parameters or 0
    shown = "-" if not count else f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.0f} M"
    assert (parameters, licence, template) == (shown, spec.licence, shrunk_config(name).model.template.name)
    assert languages and model_class == f"`{built(name).model_class}`"


@pytest.mark.parametrize("command", re.findall(r"^python launch\.py ([^#\n]+)", DOCS, re.MULTILINE))
def test_the_commands_compose(command):
    compose([argument.strip("'") for argument in command.split()])
