"""CounselGPT."""

from datamodules.sources import CounselGPT
from tests.datamodules.sources.read_source import kept, read, reasons, talk


def dialogue(*turns):
    return [{"speaker": speaker, "utterance": text} for speaker, text in turns]


LONG = dialogue(
    ("상담사", "안녕하세요."),
    ("내담자", "잠이 안 와요."),
    ("상담사", "언제부터인가요?"),
    ("내담자", "한 달요."),
    ("상담사", "힘드셨겠어요."),
)


def test_a_line_is_a_whole_dialogue_and_the_greeting_before_it_is_left_off(tmp_path):
    records = read(tmp_path, CounselGPT, LONG, LONG)

    assert [r.messages for r in records] == [talk("잠이 안 와요.", "언제부터인가요?", "한 달요.", "힘드셨겠어요.")] * 2
    assert (records[0].language, records[0].licence) == ("ko", "unknown")


def test_single_questions_have_input_and_output(tmp_path):
    (one,) = read(tmp_path, CounselGPT, {"input": "우울해요. ", "output": "많이 힘드셨겠어요."})

    assert one.messages == talk("우울해요.", "많이 힘드셨겠어요.")


def test_odd_rows_are_rejected_and_the_rest_goes_on(tmp_path):
    stranger, silent = dialogue(("내담자", "가"), ("의사", "나")), [{"speaker": "내담자"}]
    records = read(tmp_path, CounselGPT, {"input": "가"}, stranger, silent, [], LONG)

    assert "'output' is missing" in reasons(records)[0]
    assert reasons(records)[1] == "turn 2 has the role '의사'; known are: 상담사, 내담자"
    assert reasons(records)[2].startswith("turn 1 has no text") and "empty" in reasons(records)[3]
    assert len(kept(records)) == 1
