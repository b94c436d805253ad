"""KULLM v2."""

from datamodules.sources import KullmV2
from tests.datamodules.sources.read_source import read, reasons, talk


def test_rows_have_alpacas_columns_and_an_id(tmp_path):
    (one,) = read(tmp_path, KullmV2, {"id": "alpaca_{idx}", "instruction": "3원색이란?", "input": "", "output": "세 가지 색"})

    assert one.messages == talk("3원색이란?", "세 가지 색")
    assert (one.record_id, one.language, one.licence) == ("kullm_v2:0", "ko", "Apache-2.0")


def test_a_row_of_another_kind_is_rejected(tmp_path):
    assert "expected columns: instruction, output, input" in reasons(read(tmp_path, KullmV2, {"id": "x", "text": "y"}))[0]
