"""The probe covers several languages, as the model was trained to read them, and is the same every time."""

import pytest

from kinnari.export.probe import TEXTS, make_probe
from kinnari.models.load import load_tokenizer
from kinnari.text.conversation import Conversation, Message
from kinnari.text.template import Template
from tests.kinnari.models.specs import t5_spec, toy_spec


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KINNARI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


TEMPLATE = Template(
    name="test", user="<q>{content}", user_with_context=None, assistant_start="<a>", system="{content}", after_eos="", default_system=None,
    bos=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(cache):
    return load_tokenizer(toy_spec())


def test_every_language_of_kinnari_is_asked(tokenizer):
    assert {language for language, _, _ in TEXTS} >= {"en", "th", "ko", "zh", "ja"}
    probe = make_probe(tokenizer, TEMPLATE)
    assert len(probe) == len(TEXTS) and 300 <= sum(map(len, probe.rows)) <= 64 * len(TEXTS)
    assert probe == make_probe(tokenizer, TEMPLATE)


def test_rows_are_rendered_with_the_template(tokenizer):
    assert all(tokenizer.decode(row).startswith("<q>") for row in make_probe(tokenizer, TEMPLATE).rows)
    assert not any("<q>" in tokenizer.decode(row) for row in make_probe(tokenizer, None).rows)


def test_given_conversations_are_probed_too(tokenizer):
    messages = (Message("user", "abc"), Message("assistant", "xyz"))
    given = Conversation(messages=messages, record_id="1", source="s", language="en", licence="")
    probe = make_probe(tokenizer, TEMPLATE, conversations=[given])
    assert len(probe) == len(TEXTS) + 1 and "<q>abc<a>xyz" in tokenizer.decode(probe.rows[-1])


def test_an_encoder_decoder_reads_the_question_and_is_led_through_the_answer():
    tokenizer = load_tokenizer(t5_spec())
    for template in (TEMPLATE, None):
        probe = make_probe(tokenizer, template, decoder_start=0)
        assert probe.decoder_rows is not None and len(probe.decoder_rows) == len(probe)
        assert all(row[0] == 0 for row in probe.decoder_rows)
        assert TEXTS[0][1] in tokenizer.decode(probe.rows[0]) and TEXTS[0][2][:20] in tokenizer.decode(probe.decoder_rows[0])
    inputs = probe.inputs(0)
    assert inputs["input_ids"].shape == (1, len(probe.rows[0])) and "decoder_input_ids" in inputs
