"""What system R compared, defects included."""

from __future__ import annotations

import json

from kinnari.evaluation.benchmarks import C3, CHID, CLUEWSC, IFLYTEK, OCNLI, TNEWS


def texts(questions):
    return [question.texts for question in questions]


def test_candidates_keep_their_order_and_yes_stands_first(tmp_path, write):
    write("dev.json", [{"sentence1": "a", "sentence2": "b", "label": label} for label in ("contradiction", "-", "entailment")])
    questions = OCNLI(name="ocnli", data_dir=str(tmp_path), scoring="legacy").questions()
    assert texts(questions) == [("a?Yes，b", "a?Maybe，b", "a?No，b")] * 2
    assert [question.gold for question in questions] == [2, 0]


def test_the_right_topic_always_stands_first(tmp_path, write):
    write("tnews/dev.json", [{"label": 100 + number % 5, "sentence": str(number)} for number in range(20)])
    write("iflytek/dev.json", [{"label": 118, "label_des": "其他", "sentence": "x"}])
    questions = TNEWS(name="tnews", data_dir=str(tmp_path), scoring="legacy").questions()
    assert [question.gold for question in questions] == [0] * 20
    assert questions[3].texts[0] == "这是关于体育的文章:3" and {len(set(question.texts)) for question in questions} == {4}
    (app,) = IFLYTEK(name="iflytek", data_dir=str(tmp_path), scoring="legacy").questions()
    assert app.texts[0] == "这是关于其他的应用程序:x"


def test_two_items_of_wsc_are_compared_and_the_second_says_what_is_right(tmp_path, write):
    target = {"span1_text": "狗", "span2_text": "它", "span2_index": 2}
    rows = [
        {"idx": i, "text": f"狗{i}它", "target": target, "label": label}
        for i, label in enumerate(["true", "false", "false", "true", "true"])
    ]
    write("dev.json", rows)
    questions = CLUEWSC(name="cluewsc", data_dir=str(tmp_path), scoring="legacy").questions()
    # Five items make two groups; true is option 0, false option 1.
    assert texts(questions) == [("狗0狗", "狗1狗"), ("狗2狗", "狗3狗")]
    assert [question.gold for question in questions] == [1, 0]


def test_choices_of_c3_drift_into_groups_of_four(tmp_path, write):
    asked = [{"question": str(n), "choice": [f"{n}{c}" for c in "abcd"[:n]], "answer": f"{n}b"} for n in (2, 3, 4)]
    write("d-dev.json", json.dumps([[["x"], asked, "1"]]))
    questions = C3(name="c3", data_dir=str(tmp_path), scoring="legacy").questions()
    labels = [[candidate.label for candidate in question.candidates] for question in questions]
    assert labels == [["2a", "2b", "3a", "3b"], ["3c", "4a", "4b", "4c"]]  # 4d is left over
    assert [question.gold for question in questions] == [1, 1]  # where "3b" and "4b" stand among their own choices


def test_shots_are_evaluated_texts_with_any_label_and_differ_between_candidates(tmp_path, write):
    write("dev.json", [{"sentence1": f"前{i}", "sentence2": "后", "label": "neutral"} for i in range(8)])
    questions = OCNLI(name="ocnli", data_dir=str(tmp_path), scoring="legacy", shots=3).questions()
    shots = [candidate.before.split("\n")[:-1] for question in questions for candidate in question.candidates]
    assert {len(own) for own in shots} == {3} and {question.header for question in questions} == {""}
    flat = [shot for own in shots for shot in own]
    assert {shot.partition("?")[2].partition("，")[0] for shot in flat} == {"Yes", "Maybe", "No"}
    assert len({tuple(own) for own in shots}) > 20  # of 24
    # In characters, of 20: 前0?No，后 is 7, with two spare and a shot of 7 + 1 that makes 17; 前0?Maybe，后 is 10, and with a like shot 23.
    short = OCNLI(name="ocnli", data_dir=str(tmp_path), scoring="legacy", shots=3).questions(len, 20)
    assert {candidate.text.count("\n") for question in short for candidate in question.candidates} == {0, 1}


def test_blanks_of_one_text_are_groups_of_their_own(tmp_path, write):
    ten = [f"成语{number}" for number in range(10)]
    write("dev.json", [{"candidates": ten, "content": ["#idiom1#和#idiom2#"]}])
    write("dev_answer.json", {"#idiom1#": 4, "#idiom2#": 5})
    questions = CHID(name="chid", data_dir=str(tmp_path), scoring="legacy", limit=1).questions()
    assert [question.gold for question in questions] == [4] and questions[0].texts[0] == "成语0和#idiom2#"
