"""Benchmarks described by a yaml file: one's own, and the options for Korean, Thai, Chinese and English."""

from __future__ import annotations

import json

import pytest
from hydra.utils import instantiate

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import MultipleChoice
from kinnari.tasks.compose import compose

OWN = {"question": "How many legs has a spider?", "choices": ["six", "eight"], "answer": 1}


def benchmark(folder, **settings) -> MultipleChoice:
    plain = {"template": "{question} {label}", "answer": "answer", "choices": "choices"}
    return MultipleChoice(name="own", data_dir=str(folder), **plain | settings)


def option(name: str, *overrides: str):
    """The benchmark of conf/benchmark/NAME.yaml, as a run has it."""
    cfg = compose([f"benchmark={name}", *overrides])
    return instantiate(cfg.benchmark[name], name=name, _convert_="all")


def right(questions) -> list[str]:
    return [question.texts[question.gold] for question in questions]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(1, "index"), ("1", "index"), (2, "number"), ("B", "letter"), ("b", "letter"), ("eight", "text"), (" eight ", "text")],
)
def test_an_answer_may_be_written_in_four_ways(tmp_path, write, answer, kind):
    write("dev.jsonl", [OWN | {"answer": answer}])
    assert right(benchmark(tmp_path, answer_is=kind).questions()) == ["How many legs has a spider? eight"]


@pytest.mark.parametrize(("listed", "names"), [("letters", "AB"), ("numbers", "12")])
def test_listed_choices_are_answered_by_their_names(tmp_path, write, listed, names):
    write("dev.jsonl", [OWN])
    (question,) = benchmark(tmp_path, listed=listed, template="{question}\n{choices}\n= {label}").questions()
    assert right([question]) == [f"How many legs has a spider?\n{names[0]}. six\n{names[1]}. eight\n= {names[1]}"]
    assert sorted(question.labels) == list(names) and question.premise == "= "


def test_columns_may_hold_one_choice_each_and_the_last_may_be_missing(tmp_path, write):
    write("dev.csv", "q,a,b,c,answer,field\nx,1,2,3,C,bio\ny,4,5,,A,law\n")
    made = benchmark(tmp_path, file="dev.csv", template="{q}{label}", choices=["a", "b", "c"], answer_is="letter", subject="field")
    questions = made.questions()
    assert right(questions) == ["x3", "y4"] and [len(question.candidates) for question in questions] == [3, 2]
    assert [question.subject for question in questions] == ["bio", "law"]
    write("dev.csv", "q,a,b,c,answer\nx,1,,3,C\n")
    with pytest.raises(ConfigError, match="line 2: column 'b' is empty, and a later choice is not"):
        benchmark(tmp_path, file="dev.csv", template="{q}{label}", choices=["a", "b", "c"], answer_is="letter").questions()


def test_rows_may_be_passed_over_and_values_replaced(tmp_path, write):
    write("dev.jsonl", [OWN | {"use": True, "kind": "n"}, OWN | {"use": False, "kind": "n"}, OWN | {"kind": "n"}])
    made = benchmark(tmp_path, only={"use": True}, replacements={"kind": {"n": "number"}}, template="({kind}) {label}")
    assert right(made.questions()) == ["(number) eight"]
    write("undecided/dev.jsonl", [OWN | {"answer": "-"}, OWN])
    assert len(benchmark(tmp_path / "undecided", skipped=["-"]).questions()) == 1
    with pytest.raises(ConfigError, match="column 'kind' holds 'n', for which"):
        benchmark(tmp_path, replacements={"kind": {"x": "y"}}).questions()
    with pytest.raises(ConfigError, match=r"no row of .*dev\.jsonl has \{'use': 'maybe'\}"):
        benchmark(tmp_path, only={"use": "maybe"}).questions()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 2}, r"line 1: the answer '2', read as index, is none of the 2 choices"),
        ({"answer": "eight"}, "the answer 'eight', read as index"),
        ({"answer": -1}, "the answer '-1'"),
        ({"choices": ["six"]}, "there are 1 choices, where two or more must be"),
        ({"choices": "six"}, "where a list of texts must be"),
    ],
)
def test_what_is_no_question_is_named(tmp_path, write, row, message):
    write("dev.jsonl", [OWN | row])
    with pytest.raises(ConfigError, match=message):
        benchmark(tmp_path).questions()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer_is": "word"}, r"benchmark\.own\.answer_is=word is unknown"),
        ({"listed": "roman"}, r"benchmark\.own\.listed=roman is unknown"),
        ({"choices": None}, "needs either `choices`"),
        ({"words": {"a": "b"}}, "needs either `choices`"),
        ({"choice_pattern": "("}, "choice_pattern=.* is no regular expression"),
        ({"template": "{question}"}, "exactly once"),
        ({"template": "{label} {question}"}, "the label stands before what it is about"),
        ({"scoring": "legacy"}, "it had no benchmark=own"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        benchmark(tmp_path, **settings)


def test_a_template_names_columns_that_exist(tmp_path, write):
    write("dev.jsonl", [OWN])
    with pytest.raises(ConfigError, match=r"names \{stem\}, which the rows do not have; they have question, choices, answer"):
        benchmark(tmp_path, template="{stem} {label}").questions()


def test_other_reads_the_plain_layout_and_takes_what_all_benchmarks_share(tmp_path, write):
    write("train.jsonl", [OWN | {"question": "Legs of a bee?", "answer": 0}])
    write("dev.jsonl", [OWN])
    made = option("other", f"benchmark.data_dir={tmp_path}", "benchmark.shots=1", "benchmark.other.limit=5")
    (question,) = made.questions()
    assert right([question]) == ["Legs of a bee?\nsix\n\nHow many legs has a spider?\neight"]
    assert (made.limit, made.chosen_scoring, made.seed) == (5, "length_normalised", 42)


def test_korean_inference(tmp_path, write):
    row = {"guid": "klue-1", "premise": "흡연 가능", "hypothesis": "흡연 금지", "gold_label": "contradiction", "label2": "neutral"}
    write("klue_nli/klue-nli-v1.1_dev.json", json.dumps([row]))
    (question,) = option("klue_nli", f"benchmark.data_dir={tmp_path}").questions()
    assert question.id == "klue-1" and right([question])[0].startswith("전제: 흡연 가능\n가설: 흡연 금지\n")
    assert right([question])[0].endswith("\n답: 아니요") and question.premise == "답: "
    write("xnli.dev.ko.tsv", 'sentence1\tsentence2\tgold_label\n"엄마\t엄마가\tneutral\n')
    assert right(option("xnli_ko", f"benchmark.data_dir={tmp_path}").questions())[0].endswith("답: 아마도")


@pytest.mark.parametrize(("name", "language", "answer"), [("xnli_th", "th", "ใช่"), ("xnli_zh", "zh", "是"), ("xnli_en", "en", "Yes")])
def test_xnli_has_one_file_for_all_languages(tmp_path, write, name, language, answer):
    lines = ["language\tgold_label\tsentence1\tsentence2\tpairID"]
    lines += [f"{code}\tentailment\t{code}1\t{code}2\t7" for code in ("ar", "en", "th", "zh")]
    write("xnli.dev.tsv", "\n".join(lines))
    (question,) = option(name, f"benchmark.data_dir={tmp_path}").questions()
    assert f"{language}1" in right([question])[0] and right([question])[0].endswith(answer)
    assert sorted(question.labels) == ["contradiction", "entailment", "neutral"]


@pytest.mark.parametrize(("name", "texts"), [("xcopa_th", ["ก ดังนั้น ข", "ก เพราะ ค"]), ("xcopa_zh", ["ก所以ข", "ก因为ค"])])
def test_xcopa_joins_cause_and_effect(tmp_path, write, name, texts):
    row = {"premise": "ก", "choice1": "ข", "choice2": "ค", "changed": False}
    rows = [row | {"question": "effect", "label": 0, "idx": 0}, row | {"question": "cause", "label": 1, "idx": 1}]
    write(f"val.{name[-2:]}.jsonl", rows)
    assert right(option(name, f"benchmark.data_dir={tmp_path}").questions()) == texts


def test_thai_examinations_part_their_choices_and_leave_out_several_answers(tmp_path, write):
    head = "year,no,instruction,input,result,isAnswerable,isMultipleChoice,isSingleChoiceSolution,note\n"
    rows = (
        "2021,1,ข้อใด,(1) ก (2) ข (3) ค (4) ง,(3) ค,TRUE,TRUE,TRUE,\n"
        '2021,2,ข้อใด,(1) ก (2) ข (3) ค,"(1) ก ,(2) ข",TRUE,TRUE,FALSE,\n'
        "tha,3,ข้อใด,(1) ก\\n(2) ข,(2) คือ,TRUE,TRUE,TRUE,\n"
    )
    write("08_onet_m3_thai.csv", head + rows)
    questions = option("onet", f"benchmark.data_dir={tmp_path}", "benchmark.onet.file=08_onet_m3_thai.csv").questions()
    assert right(questions) == ["ข้อใด\n1. ก\n2. ข\n3. ค\n4. ง\nคำตอบ: 3", "ข้อใด\n1. ก\n2. ข\nคำตอบ: 2"]
    assert [question.id for question in questions] == ["1", "3"]


def test_belebele_has_four_answers_by_number(tmp_path, write):
    row = {"flores_passage": "P.", "question": "Q?", "correct_answer_num": "4", **{f"mc_answer{n}": f"a{n}" for n in range(1, 5)}}
    write("tha_Thai.jsonl", [row])
    (question,) = option("belebele", f"benchmark.data_dir={tmp_path}", "benchmark.belebele.file=tha_Thai.jsonl").questions()
    assert right([question]) == ["P.\nQ?\nA. a1\nB. a2\nC. a3\nD. a4\n→ D"]
