"""WangChanGLM's translations: turns checked against the English text, joined back to their sources."""

import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from datamodules.sources import Dolly, OIGChip2, OIGInfillDBpedia, WangchanTranslated
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk, written

CHIP2 = "<human>: Name a fruit.\n<bot>: An apple."
INFILL = "Background: Ayutthaya fell.\n<human>: When?\n<bot>: In 1767."
DOLLY = {"instruction": "Where?", "context": "A place.", "response": "There."}
ROWS = [
    {"text": CHIP2, "translated_text_replaced": "<human>: ผลไม้\n<bot>: แอปเปิล"},
    {"text": INFILL.replace("Background", "<context>"), "translated_text_replaced": "<context>: อยุธยา\n<human>: เมื่อไร\n<bot>: พ.ศ. ๒๓๑๐"},
    {
        "text": "<context>: A place.\n<human>: Where?\n<bot>: There.",
        "translated_text_replaced": "<context>: ที่\n<human>: ไหน\n<bot>: นั่น",
    },
    {"text": CHIP2, "translated_text_replaced": "<human>: ผลไม้อีก\n<bot>: แอปเปิล"},
]


def test_the_translation_is_what_is_trained(tmp_path):
    records = read(tmp_path, WangchanTranslated, *ROWS)

    assert records[0].messages == talk("ผลไม้", "แอปเปิล") and records[0].language == "th"
    assert records[1].messages[0] == Message("user", "เมื่อไร", context="อยุธยา") and len(kept(records)) == 4


def test_originals_choose_the_rows_of_their_source_each_once(tmp_path, caplog):
    infill = OIGInfillDBpedia(path=written(tmp_path, [{"text": INFILL}], name="infill"))
    dolly = Dolly(path=written(tmp_path, [DOLLY], name="dolly"))
    chip2 = OIGChip2(path=written(tmp_path, [{"text": CHIP2}], name="chip2"))

    assert [r.record_id for r in kept(read(tmp_path, WangchanTranslated, *ROWS, originals=infill))] == ["wangchan_translated:1"]
    assert [r.record_id for r in kept(read(tmp_path, WangchanTranslated, *ROWS, originals=dolly))] == ["wangchan_translated:2"]
    with caplog.at_level("INFO"):
        records = read(tmp_path, WangchanTranslated, *ROWS, originals=chip2)
    assert [r.record_id for r in kept(records)] == ["wangchan_translated:0"]
    assert reasons(records) == ["its English text was translated before"]
    assert "2 rows are not among the 1 originals and were passed over" in caplog.text


def test_a_translation_that_lost_its_cues_is_rejected(tmp_path):
    rows = [
        {"text": CHIP2, "translated_text_replaced": "<มนุษย์>: ผลไม้\n<บอต>: แอปเปิล"},
        {"text": INFILL, "translated_text_replaced": "<human>: เมื่อไร\n<bot>: พ.ศ. ๒๓๑๐"},
        {"text": "An apple.", "translated_text_replaced": "แอปเปิล"},
        {"text": CHIP2},
    ]

    expected = ["the translation: none of the cues", "other turns than the English", "the English text: none", "'translated_text_replaced'"]
    assert all(part in reason for part, reason in zip(expected, reasons(read(tmp_path, WangchanTranslated, *rows)), strict=True))


def test_the_parts_share_one_file_and_only_chip2_loses_its_code(tmp_path):
    path = written(tmp_path, ROWS)
    config = OmegaConf.create({"data": yaml.safe_load((conf_folder() / "data/wangchan_translated_parts.yaml").read_text("utf-8"))})
    config.data.wangchan_th_chip2.path = path
    for part, rows in {"chip2": [{"text": CHIP2}], "infill": [{"text": INFILL}], "dolly": [DOLLY]}.items():
        config.data[f"wangchan_th_{part}"].originals.path = written(tmp_path, rows, name=part)
    for part in ("hc3", "tldr"):
        config.data[f"wangchan_th_{part}"].originals.path = written(tmp_path, [{"text": "<human>: x\n<bot>: y"}], name=part)
    parts = {name: instantiate(source, _convert_="all") for name, source in config.data.items()}

    assert {name: len(kept(list(source.read()))) for name, source in parts.items()} == {
        "wangchan_th_chip2": 1, "wangchan_th_infill": 1, "wangchan_th_hc3": 0, "wangchan_th_tldr": 0, "wangchan_th_dolly": 1,
    }  # fmt: skip
    assert all(source.name == name for name, source in parts.items())
    assert [name for name, source in parts.items() if source.steps] == ["wangchan_th_chip2"]
    assert len(parts["wangchan_th_dolly"].files()) == 2
