"""`model/template=` builds the renderer: a file of conf/model/template, or the model's own."""

import pytest

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.conversation import Message
from kinnari.text.template import Template


def test_a_name_chooses_a_file_and_its_fields_can_be_set():
    cfg = compose(["model=tiny_causal", "model/template=vicuna", "model.template.default_system=Be kind."])
    template = build.template(cfg, byte_tokenizer())

    assert isinstance(template, Template) and template.name == "vicuna"
    assert template.render_prompt([Message("user", "Q")])[1].text == "Be kind. USER: "


def test_own_is_the_chat_template_of_the_tokenizer():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    cfg = compose(["model=tiny_causal", "model/template=own"])

    template = build.template(cfg, tokenizer)

    assert isinstance(template, ChatTemplate)
    assert "".join(s.text for s in template.render_prompt([Message("user", "Q")])) == "user: Q</s>assistant: "
    with pytest.raises(ConfigError, match="has none"):
        build.template(cfg, byte_tokenizer())


def test_a_file_with_an_unknown_field_is_refused_with_the_known_ones():
    cfg = compose(["model=tiny_causal", "+model.template.asistant_start=x"])
    with pytest.raises(ConfigError, match=r"asistant_start.*may hold name, system, user.*answer_end"):
        build.template(cfg, byte_tokenizer())
