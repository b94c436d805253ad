"""KoChatGPT."""

import pytest

from datamodules.sources import KoChatGPT
from datamodules.sources.kochatgpt import without_open_quote
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def test_the_file_is_a_json_list_though_it_is_named_jsonl(tmp_path):
    path = tmp_path / "kochatgpt_1_SFT.jsonl"
    path.write_text('[\n  {"prompt": "비가 오나요?", "completion": "네.", "tokens": 3},\n  {"prompt": "왜?", "completion": "몰라요."}\n]')
    records = list(KoChatGPT(path=str(path)).read())

    assert [r.messages for r in records] == [talk("비가 오나요?", "네."), talk("왜?", "몰라요.")]
    assert {(r.language, r.licence) for r in records} == {("ko", "unknown")}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("'술은 음료입니다.", "술은 음료입니다."),
        ("'술'은 음료입니다.", "'술'은 음료입니다."),
        ("'그는 '술'을 마십니다.", "그는 '술'을 마십니다."),
        ("술은 '음료입니다.", "술은 '음료입니다."),
        ("''", "''"),
    ],
)
def test_a_quotation_mark_that_is_never_closed_is_taken_off(text, clean):
    assert without_open_quote(text) == clean


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    records = read(
        tmp_path, KoChatGPT, {"prompt": "", "completion": "x"}, {"prompt": "x", "completion": "'"}, {"prompt": "왜?", "completion": "'음"}
    )

    assert "'prompt' is missing, empty or not text" in reasons(records)[0]
    assert reasons(records)[1] == "the answer is a quotation mark"
    assert kept(records)[0].messages == talk("왜?", "음")
