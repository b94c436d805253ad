"""A model that always prefers known bytes has known scores on every kind of benchmark; and what may not change a prediction does not."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks import (
    AFQMC,
    C3,
    CHID,
    CLUEWSC,
    CMNLI,
    CMRC2018,
    CSL,
    IFLYTEK,
    MMLU,
    OCNLI,
    TNEWS,
    Benchmark,
    CEval,
    MultipleChoice,
)
from kinnari.evaluation.examinee import Examination, Examinee, examination
from kinnari.evaluation.likelihood import LikelihoodCache
from kinnari.evaluation.outcome import Outcome
from kinnari.evaluation.question import Candidate, Question
from kinnari.models.fingerprint import model_fingerprint
from kinnari.models.toy import byte_tokenizer
from tests.distributed import run_ranks
from tests.kinnari.evaluation.likelihood.families import tiny
from tests.kinnari.evaluation.preferring import TOKENIZER, bytes_of, likely, preferring, unlikely

SPAN = {"span1_index": 0, "span1_text": "狗", "span2_index": 2, "span2_text": "它"}


def rows(labels: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": i, "label": label, **{k: f"{v}{i}" if isinstance(v, str) else v for k, v in fields.items()}}
            for i, label in enumerate(labels.split())]  # fmt: skip


NLI = rows("entailment neutral contradiction - neutral", sentence1="他来了", sentence2="有人")
TWO = rows("0 1 0", sentence1="几点", sentence2="何时")
WSC = [{"idx": i, "text": f"狗{i}它", "target": SPAN, "label": label} for i, label in enumerate(["true", "false", "false"])]
EXAM = [["0", "q", "v", "w", "x", "y", "C"], ["1", "r", "v", "w", "x", "y", "A"], ["2", "s", "v", "w", "x", "y", "C"]]
ASKED = [
    {"question": "a", "choice": ["红", "绿"], "answer": "红"},
    {"question": "b", "choice": ["绿", "黑", "蓝", "白"], "answer": "蓝"},
]
TALK = [[["甲：好。"], ASKED, "1"]]
APPS = [{"label": label, "label_des": word, "sentence": "应用"} for label, word in (("0", "打车"), ("118", "其他"), ("0", "打车"))]
IDIOMS = [{"id": i, "candidates": list("红橙黄绿青蓝紫"), "content": "天#idiom#了", "answer": answer} for i, answer in enumerate((0, 3, 3))]
OWN = [{"question": "q", "choices": ["xx", "yy"], "answer": 0}, {"question": "r", "choices": ["yy", "zz", "ww"], "answer": 0}]
BY_LENGTH = {"scoring": "length_normalised", "prompt": "label_last"}
COLUMNS = {"template": "{question}{label}", "answer": "answer", "choices": "choices"}
# what is asked, its file, its rows, what the model always says, and how many of how many it then has right
KNOWN = [
    (OCNLI, "dev.json", NLI, "也许", 2, 4, {}),
    (CMNLI, "dev.json", NLI, "是", 1, 4, {}),
    (OCNLI, "dev.json", NLI, "Maybe", 2, 4, {"scoring": "sequence"}),
    (AFQMC, "dev.json", TWO, "不同", 2, 3, {}),
    (CSL, "dev.json", rows("1 0 1", abst="水", keyword=["水"]), "是", 2, 3, {}),
    (CLUEWSC, "dev.json", WSC, "是", 1, 3, {}),
    (TNEWS, "dev.json", rows("103 104 103 115", sentence="头条"), "体育", 2, 4, {"candidates": "all"}),
    (IFLYTEK, "dev.json", APPS, "其他", 1, 3, {"candidates": "all"}),
    (CEval, "val/law_val.csv", EXAM, "C", 2, 3, {}),
    (MMLU, "test/astronomy_test.csv", [row[1:] for row in EXAM], "A", 1, 3, {}),
    (C3, "d-dev.json", TALK, "红蓝", 2, 2, BY_LENGTH),
    (CHID, "dev_few_all.json", IDIOMS, "绿", 2, 3, {}),
    (MultipleChoice, "dev.json", OWN, "y", 1, 2, COLUMNS),
]


def written(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".csv"):
        stream = io.StringIO()
        csv.writer(stream).writerows([["id", "question", "A", "B", "C", "D", "answer"], *content] if len(content[0]) == 7 else content)
        path.write_text(stream.getvalue(), encoding="utf-8")
        return
    lines = isinstance(content, list) and isinstance(content[0], dict)
    path.write_text("\n".join(map(json.dumps, content)) if lines else json.dumps(content), encoding="utf-8")


def sat(benchmark: Benchmark, model: Any, tokenizer: Any = TOKENIZER, **options: Any) -> Outcome:
    return Examinee(model=model, tokenizer=tokenizer, **options).sit(examination(benchmark, tokenizer, None))


@pytest.mark.parametrize(("kind", "file", "content", "said", "right", "count", "settings"), KNOWN)
def test_a_model_that_always_says_one_thing_has_the_score_that_is_counted_by_hand(
    tmp_path, kind, file, content, said, right, count, settings
):
    written(tmp_path, file, content)
    found = sat(kind(name="own", data_dir=str(tmp_path), **settings), preferring(said))
    assert found.numbers["accuracy"] == pytest.approx(right / count)
    assert found.numbers["n"] == count and found.numbers["ties"] == 0


def test_a_label_is_worth_its_bytes(tmp_path):
    written(tmp_path, "dev.json", NLI)
    (row, *_) = sat(OCNLI(name="own", data_dir=str(tmp_path)), preferring("也许")).rows
    worth = {word: sum(map(byte_of("也许"), TOKENIZER(word)["input_ids"])) for word in ("也许", "是", "不是")}
    assert worth["也许"] == pytest.approx(6 * likely("也许")) and worth["是"] == pytest.approx(3 * unlikely("也许"))
    found = {text.rsplit("：")[-1]: value for text, value in zip(row["candidates"], row["scores"], strict=True)}
    assert found == {word: pytest.approx(value, abs=1e-4) for word, value in worth.items()}


def byte_of(preferred: str) -> Callable[[int], float]:
    """Token id -> its log-probability."""
    return lambda token: likely(preferred) if token in bytes_of(preferred) else unlikely(preferred)


def test_what_a_question_adds_is_nothing_for_a_model_that_never_looks(tmp_path):
    written(tmp_path, "d-dev.json", TALK)
    found = sat(C3(name="own", data_dir=str(tmp_path)), preferring("红"))
    assert found.how["scoring"] == "pmi" and found.numbers["ties"] == found.numbers["n"] == 2
    assert all(row["scores"] == pytest.approx([0.0] * len(row["scores"]), abs=1e-5) for row in found.rows)


def test_calibration_takes_away_what_is_said_anyway(tmp_path):
    written(tmp_path, "dev.json", NLI)
    benchmark = OCNLI(name="own", data_dir=str(tmp_path))
    plain, without = (sat(benchmark, preferring("也许", strength=2.0), calibration=kind) for kind in ("none", "prior"))
    assert {row["candidates"][row["prediction"]][-2:] for row in plain.rows} == {"：是"}  # the shortest of unlikely words
    gaps = [max(row["scores"]) - min(row["scores"]) for row in without.rows]
    assert gaps == pytest.approx([0.0] * 4, abs=1e-4)


def test_an_encoder_decoder_is_asked_by_its_decoder(tmp_path):
    written(tmp_path, "dev.json", NLI)
    found = sat(OCNLI(name="own", data_dir=str(tmp_path)), preferring("也许", seq2seq=True))
    assert found.numbers["accuracy"] == 0.5
    assert max(found.rows[0]["scores"]) == pytest.approx(6 * likely("也许"), abs=1e-4)


def test_legacy_takes_each_token_from_itself_and_the_first_of_equals(tmp_path):
    written(tmp_path, "tnews/dev.json", rows("103 104 115", sentence="头"))
    benchmark = TNEWS(name="tnews", data_dir=str(tmp_path), scoring="legacy")
    found = sat(benchmark, preferring("头"))
    ids = TOKENIZER(found.rows[0]["candidates"][0])["input_ids"]
    assert found.rows[0]["scores"][0] == pytest.approx(sum(map(byte_of("头"), ids)) / len(ids), abs=1e-4)
    # where all words are equally likely system R's rule takes the first, and the right one always stands there
    alike = sat(benchmark, preferring("头", strength=0.0))
    assert (alike.numbers["accuracy"], alike.numbers["ties"]) == (1.0, 3)


def test_legacy_is_refused_where_a_text_has_two_sides(tmp_path):
    written(tmp_path, "dev.json", NLI)
    with pytest.raises(ConfigError, match="scoring=legacy"):
        sat(OCNLI(name="own", data_dir=str(tmp_path), scoring="legacy"), preferring("是", seq2seq=True))


def test_reading_is_answered_in_words(tmp_path):
    answers = [{"text": "aaaa"}, {"text": "b"}]
    asked = [{"id": str(i), "question": "谁", "answers": [answer]} for i, answer in enumerate(answers)]
    written(tmp_path, "cmrc2018_dev.json", {"data": [{"paragraphs": [{"context": "文", "qas": asked}]}]})
    found = sat(CMRC2018(name="cmrc2018", data_dir=str(tmp_path), max_new_tokens=4), preferring("a"))
    assert [row["prediction"] for row in found.rows] == ["aaaa", "aaaa"]
    assert (found.numbers["exact_match"], found.numbers["f1"], found.numbers["majority"]) == (0.5, 0.5, 0.5)


# --- what may not change a prediction -------------------------------------------------------------------------------------


def exam(number: int = 24) -> Examination:
    """Questions of two to five choices over one of three headers, of different lengths."""
    drawn = random.Random(5)
    words = ["red", "green", "blue", "white", "绿色", "black"]
    asked = [
        Question(
            id=str(i),
            header=("", "Sky: blue\n\n", "Sky: blue\n\nSnow: white\n\n")[i % 3],
            candidates=tuple(
                Candidate(f"Thing {i} {'x' * (i % 7)}: ", word, " it is." if i % 2 else "") for word in drawn.sample(words, 2 + i % 4)
            ),
            gold=i % 2,
            premise=": ",
        )
        for i in range(number)
    ]
    return Examination(benchmark=benchmark(), questions=asked)


def benchmark(scoring: str = "label") -> MultipleChoice:
    return MultipleChoice(name="own", template="{label}", answer="answer", choices="choices", scoring=scoring)


def said(outcome: Outcome) -> dict[str, str]:
    """The chosen text of each question."""
    return {row["id"]: row["candidates"][row["prediction"]] for row in outcome.rows}


def examinee(**options: Any) -> Examinee:
    return Examinee(**{"model": tiny("llama"), "tokenizer": TOKENIZER, **options})


@pytest.fixture(scope="module", params=["label", "sequence", "pmi"])
def baseline(request) -> tuple[Examination, dict[str, str]]:
    asked = replace(exam(), benchmark=benchmark(request.param))
    outcome = examinee().sit(asked)
    assert len({row["prediction"] for row in outcome.rows}) > 1
    return asked, said(outcome)


def test_no_order_of_candidates_or_questions_changes_a_prediction(baseline):
    asked, expected = baseline
    turned = [replace(q, candidates=q.candidates[::-1], gold=len(q.candidates) - 1 - q.gold) for q in asked.questions]
    random.Random(1).shuffle(turned)
    outcome = examinee().sit(replace(asked, questions=turned))
    assert said(outcome) == expected


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_no_size_of_batch_changes_a_prediction(baseline, budget):
    asked, expected = baseline
    assert said(examinee(token_budget=budget).sit(asked)) == expected


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_side_of_padding_changes_a_prediction(baseline, side):
    asked, expected = baseline
    tokenizer = byte_tokenizer()
    tokenizer.padding_side = tokenizer.truncation_side = side
    assert said(examinee(tokenizer=tokenizer).sit(asked)) == expected


def test_what_a_cache_knows_changes_no_prediction_and_is_not_computed_again(baseline, tmp_path):
    asked, expected = baseline
    model = tiny("llama")

    def cache() -> LikelihoodCache:
        return LikelihoodCache(tmp_path / "known.sqlite", model_fingerprint(model))

    half = replace(asked, questions=asked.questions[::2])
    assert said(examinee(cache=cache()).sit(half)).items() <= expected.items()
    done: list[int] = []
    assert said(examinee(cache=cache()).sit(asked, done.append)) == expected
    assert done[0] == len(half.questions)  # known before the first forward
    assert said(examinee(cache=cache()).sit(asked)) == expected


def on_a_rank() -> tuple[dict[str, str], dict[str, float]]:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    outcome = examinee().sit(exam())
    return said(outcome), outcome.numbers


@pytest.mark.slow
def test_two_ranks_predict_what_one_does():
    outcome = examinee().sit(exam())
    for predictions, numbers in run_ranks(on_a_rank, 2, timeout_s=120):
        assert predictions == said(outcome) and numbers == outcome.numbers


def test_a_model_whose_numbers_overflow_is_told():
    model = preferring("a", strength=float("nan"))
    with pytest.raises(ConfigError, match="no finite numbers"):
        Examinee(model=model, tokenizer=TOKENIZER).sit(exam(2))


def test_an_unknown_calibration_is_told():
    with pytest.raises(ConfigError, match="calibration=later"):
        examinee(calibration="later")
