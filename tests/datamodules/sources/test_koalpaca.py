"""KoAlpaca."""

from datamodules.sources import KoAlpaca
from kinnari.text.conversation import Message
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def test_rows_of_version_1_1_have_no_input_and_a_url_that_is_not_trained_on(tmp_path):
    (one,) = read(tmp_path, KoAlpaca, {"instruction": "양파는 어떤 부위인가요?", "output": "줄기입니다.", "url": "https://example.org"})

    assert one.messages == talk("양파는 어떤 부위인가요?", "줄기입니다.") and (one.source, one.language) == ("koalpaca", "ko")


def test_rows_of_version_1_0_have_alpacas_columns(tmp_path):
    (one,) = read(tmp_path, KoAlpaca, {"instruction": "반대말은?", "input": "크다", "output": "작다"}, suffix=".json")

    assert one.messages == (Message("user", "반대말은?", context="크다"), Message("assistant", "작다"))


def test_a_row_without_an_answer_is_rejected(tmp_path):
    records = read(tmp_path, KoAlpaca, {"instruction": "왜?", "output": ""}, {"instruction": "왜?", "output": "그냥"})

    assert "'output' is missing, empty or not text" in reasons(records)[0] and len(kept(records)) == 1
