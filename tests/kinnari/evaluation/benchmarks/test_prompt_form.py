"""A wording falls into what stands before the label, the label, and what stands behind it."""

from __future__ import annotations

import pytest

from kinnari.errors import ConfigError
from kinnari.evaluation.benchmarks.prompt_form import PromptForm
from kinnari.evaluation.question import Candidate

TOPIC = PromptForm("这是关于{label}的文章:{sentence}", {"103": "体育", "104": "财经"})


def test_a_template_is_parted_at_the_label():
    assert TOPIC.candidates({"sentence": "股市"}) == (
        Candidate("这是关于", "体育", "的文章:股市"),
        Candidate("这是关于", "财经", "的文章:股市"),
    )
    assert TOPIC.candidates({"sentence": "股市"}, ["甲"])[0].text == "这是关于甲的文章:股市"


def test_braces_within_a_field_are_text():
    form = PromptForm("{question} {label}")
    assert form.candidates({"question": "{label} {0} {question.__class__}"}, ["x"])[0].text == "{label} {0} {question.__class__} x"


@pytest.mark.parametrize(
    ("template", "label_first", "premise"),
    [
        ("这是关于{label}的文章:{sentence}", True, "这是关于"),
        ("{s1}?{label}，{s2}", True, "?"),
        ("{q}\nA. {A}\n答案：{label}", False, "答案："),
        ("摘要:{abst}，关键词:{keyword}{label}真实关键词", False, ""),
    ],
)
def test_where_the_label_stands_and_what_leads_to_it(template, label_first, premise):
    assert (PromptForm(template).label_first, PromptForm(template).premise) == (label_first, premise)
    assert PromptForm(template, premise_text="so: ").premise == "so: "


def test_what_a_template_lacks_is_said():
    with pytest.raises(ConfigError, match=r"must hold \{label\} exactly once"):
        PromptForm("{question}")
    with pytest.raises(ConfigError, match=r"names \{answer\}, which the rows do not have; they have question"):
        PromptForm("{answer}{label}").candidates({"question": "?"}, ["x"])
