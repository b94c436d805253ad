"""Benchmarks in their public layouts: files of a folder -> questions. One class per benchmark; conf/benchmark/ has an option for each."""

from kinnari.evaluation.benchmarks.benchmark import Benchmark, CountTokens
from kinnari.evaluation.benchmarks.c3 import C3
from kinnari.evaluation.benchmarks.chid import CHID
from kinnari.evaluation.benchmarks.choice_benchmark import ChoiceBenchmark
from kinnari.evaluation.benchmarks.cluewsc import CLUEWSC
from kinnari.evaluation.benchmarks.cmrc2018 import CMRC2018, ReadingQuestion
from kinnari.evaluation.benchmarks.csl import CSL
from kinnari.evaluation.benchmarks.exams import MMLU, CEval, Exam
from kinnari.evaluation.benchmarks.inference import CMNLI, OCNLI
from kinnari.evaluation.benchmarks.multiple_choice import MultipleChoice
from kinnari.evaluation.benchmarks.paraphrase import AFQMC, BUSTM
from kinnari.evaluation.benchmarks.sentiment import EPRSTMT
from kinnari.evaluation.benchmarks.topics import IFLYTEK, TNEWS

__all__ = [
    "AFQMC",
    "BUSTM",
    "C3",
    "CHID",
    "CLUEWSC",
    "CMNLI",
    "CMRC2018",
    "CSL",
    "EPRSTMT",
    "IFLYTEK",
    "MMLU",
    "OCNLI",
    "TNEWS",
    "Benchmark",
    "CEval",
    "ChoiceBenchmark",
    "CountTokens",
    "Exam",
    "MultipleChoice",
    "ReadingQuestion",
]
