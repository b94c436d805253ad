"""What a judge is told."""

from __future__ import annotations

import pytest
import yaml

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.template import JudgeTemplate
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Message

SHIPPED = {file.stem: yaml.safe_load(file.read_text("utf-8"))["template"] for file in (conf_folder() / "judge").glob("*.yaml")}


def test_braces_in_a_question_are_text():
    (asked,) = JudgeTemplate(user="{prompt}|{first}|{second}").messages("{first} {x}", "{second}", "b")
    assert asked == Message("user", "{first} {x}|{second}|b")


def test_a_category_chooses_the_instruction_and_others_are_general():
    template = JudgeTemplate(user="{prompt}{first}{second}{instruction}", instructions={"general": "G", "math": "M"})
    assert [template.messages("", "", "", category=c)[0].content for c in ("math", " Math ", "", "poems")] == ["M", "M", "G", "G"]


def test_a_reference_is_shown_where_there_is_one():
    template = JudgeTemplate(user="{prompt}{reference}{first}{second}", reference="[{reference}]")
    assert template.messages("q", "a", "b", reference="{first}")[0].content == "q[{first}]ab"
    assert template.messages("q", "a", "b")[0].content == "qab"


@pytest.mark.parametrize(
    ("given", "says"),
    [({"user": "{prompt} {first}"}, r"no \{second\}"), ({"style": "guess"}, "style=guess"),
     ({"user": "{prompt}{first}{second}{instruction}"}, "general"), ({"reference": "{reference}"}, "reference"),
     ({"user": "{prompt}{first}{second}{reference}"}, "reference"),
     ({"user": "{prompt}{first}{second}{reference}", "reference": "nothing"}, "reference")],
)  # fmt: skip
def test_a_template_that_cannot_work_is_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        JudgeTemplate(**given)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_template_shows_both_answers_in_their_order(name):
    template = JudgeTemplate(**SHIPPED[name])
    assert template.name == name
    for category in (*template.instructions, "none of them"):
        *_, asked = template.messages("the question", "answer one", "answer two", category=category)
        assert 0 <= asked.content.index("the question") < asked.content.index("answer one") < asked.content.index("answer two")
        assert "{" not in asked.content


def test_the_settings_of_the_published_judges():
    settings = {name: (t.style, t.scale and tuple(t.scale), t.max_tokens, t.temperature)
                for name, t in ((name, JudgeTemplate(**node)) for name, node in SHIPPED.items())}  # fmt: skip
    assert settings == {
        "letters": ("letter", None, 16, 0.0),
        "scores_0_1": ("first_digit_scores", (0, 1), 64, 0.2),
        "scores_1_10": ("first_line_scores", (1, 10), 1024, 0.2),
        "three_class": ("last_line_class", None, 1024, 0.2),
    }
    assert {"general", "coding", "math"} <= set(SHIPPED["scores_1_10"]["instructions"])
