"""OIG small chip2 in Korean."""

from datamodules.sources import OIGChip2Ko
from tests.datamodules.sources.read_source import read, reasons, talk

ROW = {"user": "Say hi", "chip2": " Hi!", "index": 3, "user_translated": "인사해 봐", "chip2_translated": " 안녕하세요! "}


def test_the_korean_half_is_trained_on(tmp_path):
    (one,) = read(tmp_path, OIGChip2Ko, ROW)

    assert one.messages == talk("인사해 봐", "안녕하세요!") and (one.language, one.licence) == ("ko", "Apache-2.0")


def test_the_english_half_can_be_had(tmp_path):
    (one,) = read(tmp_path, OIGChip2Ko, ROW, translated=False, language="en")

    assert one.messages == talk("Say hi", "Hi!") and one.language == "en"


def test_a_row_that_was_not_translated_is_rejected(tmp_path):
    assert "'chip2_translated' is missing, empty or not text" in reasons(read(tmp_path, OIGChip2Ko, ROW | {"chip2_translated": None}))[0]
