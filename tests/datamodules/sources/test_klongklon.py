"""Thai poems."""

import pytest

from datamodules.sources import KlongKlon
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons

POEM = (Message("user", "แต่งกลอนแปดจากวรรคนี้", context="พอออกเรือเมื่อตวัน"), Message("assistant", "ลอองน้ำค้าง ย้อยเปนฝอยฝน"))


@pytest.mark.parametrize(
    "text",
    [
        "<human>: แต่งกลอนแปดจากวรรคนี้ <context>:พอออกเรือเมื่อตวัน <bot>:ลอองน้ำค้าง ย้อยเปนฝอยฝน",
        "<context>: พอออกเรือเมื่อตวัน\n<human>: แต่งกลอนแปดจากวรรคนี้\n<bot>: ลอองน้ำค้าง ย้อยเปนฝอยฝน\n",
    ],
)
def test_the_first_line_is_the_context_in_either_order_of_the_cues(tmp_path, text):
    (one,) = read(tmp_path, KlongKlon, {"text": text, "source": "นิราศเจ้าฟ้า"})

    assert one.messages == POEM and (one.language, one.licence) == ("th", "MIT")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"text": "<human>: แต่งกลอน <context>:วรรคแรก"}, "the cue <bot>: is missing: there is no answer"),
        ({"text": "<human>: แต่งกลอน <bot>: "}, "part 2 (bot) is empty"),
        ({"text": "กลอน <human>: แต่ง <bot>: ก"}, "there is text before the first cue: 'กลอน'"),
        ({"text": "<bot>: กลอน"}, "no question with an answer to it is in the dialogue"),
        ({"source": "x"}, "the dialogue must be text, it is missing"),
        (7, "the dialogue must be text, it is a int"),
    ],
)
def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path, bad, reason):
    records = read(tmp_path, KlongKlon, bad, {"text": "<human>: ก <bot>:ข"})

    assert reasons(records) == [reason] and len(kept(records)) == 1
