"""ChatbotData.csv."""

from datamodules.sources import ChatbotData
from tests.datamodules.sources.read_source import kept, read, reasons, talk

FILE = 'Q,A,label\n12시 땡!,하루가 또 가네요.,0\n"3박4일, 놀러","여행은 ""언제나"" 좋죠.",1\n짝사랑,,2\n사랑해,저도요.,2\n'


def source(tmp_path, **options):
    path = tmp_path / "ChatbotData.csv"
    path.write_text(FILE, encoding="utf-8")
    return list(ChatbotData(path=str(path), **options).read())


def test_rows_are_questions_with_answers(tmp_path):
    records = source(tmp_path)

    assert [r.messages for r in kept(records)] == [
        talk("12시 땡!", "하루가 또 가네요."), talk("3박4일, 놀러", '여행은 "언제나" 좋죠.'), talk("사랑해", "저도요.")
    ]  # fmt: skip
    assert "'A' is missing, empty or not text" in reasons(records)[0]
    assert {(r.language, r.licence) for r in kept(records)} == {("ko", "MIT")}


def test_subjects_are_chosen_by_label_which_may_be_text_or_a_number(tmp_path):
    assert [r.messages[0].content for r in kept(source(tmp_path, labels=[1, 2]))] == ["3박4일, 놀러", "사랑해"]
    assert len(kept(read(tmp_path, ChatbotData, {"Q": "a", "A": "b", "label": 2}, {"Q": "a", "A": "b"}, labels=[2]))) == 1
