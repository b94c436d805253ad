"""The model's own chat template: what it writes, to the letter, and what of it the model writes itself."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.conversation import Conversation, Message
from kinnari.text.tokens import SegmentEncoder, answer_end_id, encode_conversations, prompt_ids
from kinnari.text.truncation import Limits

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# the answers between the marks that tell transformers what the model writes
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# headers, trimmed contents, a system turn that is always there
HEADERS = (
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %}{{ '<|head|>system<|/head|>\n\nToday.<|eot|>' }}{% endif %}"
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
# no system role, turns must alternate, the assistant is called model
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# [INST], the system message inside the first one, EOS after a space
BRACKETS = (
    "{% if messages[0]['role'] == 'system' %}{% set sys = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set sys = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (sys if loop.first else '') + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# thinking: an empty block before the last answer, thinking of earlier answers left out, that of the last on lines of its own
THINKING = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}{% if m.role == 'assistant' %}{% set thought = '' %}"
    "{% if '</think>' in content %}{% set thought = content.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}"
    "{{ content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML


def tokenizer(source):
    tokens = byte_tokenizer()
    tokens.add_special_tokens({"additional_special_tokens": ["<|head|>", "<|/head|>", "<|eot|>", "<start_of_turn>", "<end_of_turn>"]})
    tokens.chat_template = source
    return tokens


def template(source, **options):
    return ChatTemplate(tokenizer(source), **options)


def turns(*contents, system=None):
    spoken = [Message("assistant" if i % 2 else "user", content) for i, content in enumerate(contents)]
    return [*([] if system is None else [Message("system", system)]), *spoken]


def written(segments):
    return "".join(s.text for s in segments)


def trained(segments):
    return "|".join(s.text for s in segments if s.trained)


@pytest.mark.parametrize("source", [CHATML, MARKED], ids=["plain", "with generation marks"])
def test_answers_with_their_turn_end_are_trained(source):
    segments = template(source).render(turns("Hi", "Hello!", "And?", "Bye", system="Be kind."))

    assert written(segments) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\nBye<|im_end|>\n"
    )
    assert trained(segments) == "Hello!|<|im_end|>|Bye|<|im_end|>"


def test_the_turn_end_is_trained_where_it_is_not_the_eos_of_the_tokenizer():
    own = template(CHATML)
    encoder = SegmentEncoder(own.tokenizer)

    assert own.answer_end == "<|im_end|>" != own.tokenizer.eos_token
    assert answer_end_id(encoder, own) == own.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_bos_of_the_template_is_a_segment_of_its_own_and_never_trained():
    segments = template(HEADERS).render(turns("Hi", "Yo"), "everything")

    assert segments[0] == ("bos", "<s>", False)
    assert written(segments) == (
        "<s><|head|>system<|/head|>\n\nToday.<|eot|><|head|>user<|/head|>\n\nHi<|eot|><|head|>assistant<|/head|>\n\nYo<|eot|>"
    )
    assert all(s.trained for s in segments[1:])


def test_words_that_the_template_trims_are_trained_trimmed():
    segments = template(HEADERS).render(turns("  Hi\n", " Yo \n"))

    assert trained(segments) == "Yo|<|eot|>"
    assert "\n\nHi<|eot|>" in written(segments)


def test_a_system_message_goes_into_the_user_turn_where_the_template_has_no_place_for_it():
    own = template(NO_SYSTEM)
    segments = own.render(turns("Hi", "Yo", system="Be kind."))

    assert written(segments) == "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n"
    assert trained(segments) == "Yo|<end_of_turn>"
    with pytest.raises(ConfigError, match="no user turn follows"):
        own.render([Message("system", "Be kind.")])


def test_what_the_template_refuses_is_refused_with_its_words():
    with pytest.raises(ConfigError, match="Roles must alternate"):
        template(NO_SYSTEM).render([Message("user", "a"), Message("user", "b")])


def test_the_space_before_eos_is_trained_as_the_model_must_write_it():
    segments = template(BRACKETS).render(turns("Hi", "Yo", system="S"))

    assert written(segments) == "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nHi [/INST] Yo </s>"
    assert [s.text for s in segments if s.trained] == [" ", "Yo", " </s>"]  # the cue ends without its space


def test_a_context_follows_its_question():
    segments = template(CHATML).render_prompt([Message("user", "Who?", context="Ada wrote it.")])

    assert written(segments) == "<|im_start|>user\nWho?\n\nAda wrote it.<|im_end|>\n<|im_start|>assistant\n"


def test_template_text_between_prompt_and_answer_is_what_the_model_writes():
    segments = template(THINKING).render(turns("Hi", "Yo", "And?", "Bye"))

    assert trained(segments) == "Yo|<|im_end|>|<think>\n\n</think>\n\n|Bye|<|im_end|>"
    assert written(segments).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nBye<|im_end|>\n")


def test_arguments_reach_the_template():
    segments = template(THINKING, arguments={"enable_thinking": False}).render(turns("Hi", "Bye"))

    assert trained(segments) == "Bye|<|im_end|>"


def test_an_earlier_answer_that_is_asked_for_otherwise_than_it_is_written_is_read_not_trained():
    own = template(THINKING, arguments={"enable_thinking": False})
    segments = own.render(turns("Hi", "Yo", "And?", "Bye"))

    assert "<|im_start|>assistant\nYo<|im_end|>" in written(segments)
    assert trained(segments) == "Bye|<|im_end|>"


def test_thinking_in_the_last_answer_is_trained_as_the_template_lays_it_out():
    segments = template(THINKING).render(turns("Hi", "<think>hm</think>Yo"))

    assert trained(segments) == "<think>\nhm\n</think>\n\nYo|<|im_end|>"


def test_thinking_that_the_template_takes_out_of_an_earlier_answer_refuses_the_record():
    with pytest.raises(ConfigError, match=r"rewrites the words of this conversation.*model/template=chatml"):
        template(THINKING).render(turns("Hi", "<think>hm</think>Yo", "And?", "Bye"))


def test_a_template_that_writes_the_date_needs_one():
    with pytest.raises(ConfigError, match=r"today's date.*model\.template\.date"):
        template(DATED)
    assert written(template(DATED, date="2026-01-31").render(turns("Hi"))).startswith("Today is 31 Jan 2026\n<|im_start|>user\nHi")
    with pytest.raises(ConfigError, match="no date"):
        template(DATED, date="tomorrow")


def test_a_tokenizer_without_a_chat_template_is_refused_with_what_to_use():
    with pytest.raises(ConfigError, match=r"has none\. Use model/template=chatml"):
        template(None)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (CHATML.replace("<|im_end|>", "##"), "without a control token"),
        ("{{ messages[-1]['content'] }}<|im_end|>", "leaves out, repeats or moves"),
        (CHATML.replace("assistant\n", "assistant\nSure! "), "otherwise than its own generation prompt"),
        ("{{ nothing.here.at_all }}", "cannot write this conversation"),
    ],
)
def test_a_template_whose_answers_cannot_be_told_apart_is_refused(source, why):
    with pytest.raises(ConfigError, match=why):
        template(source)


def test_turns_are_chosen_as_everywhere():
    own = template(CHATML)
    conversation = turns("a", "b", "c", "d")

    assert trained(own.render(conversation, "last_answer")) == "d|<|im_end|>"
    assert trained(own.render([*conversation[:3], Message("assistant", "d", trained=False)])) == "b|<|im_end|>"
    assert trained(own.render([Message("user", "a", trained=True), Message("assistant", "b")])) == "a|b|<|im_end|>"


words = st.text(alphabet="สวัสดี안녕你好こん abc<|im_end>/s\n{}%😀", min_size=1, max_size=15)


@pytest.mark.parametrize("source", [CHATML, MARKED, HEADERS, NO_SYSTEM, BRACKETS, THINKING])
@given(contents=st.lists(words, min_size=2, max_size=6).filter(lambda c: len(c) % 2 == 0))
def test_segments_are_the_rendering_and_prompts_its_beginning(source, contents):
    own = template(source)
    messages = turns(*contents)
    plain = [{"role": m.role, "content": m.content} for m in messages]

    segments, prompt = own.render(messages), own.render_prompt(messages[:-1])

    assert written(segments) == own.tokenizer.apply_chat_template(plain, tokenize=False)
    assert written(prompt) == own.tokenizer.apply_chat_template(plain[:-1], tokenize=False, add_generation_prompt=True)
    encoder = SegmentEncoder(own.tokenizer)
    row = Conversation(messages=tuple(messages), record_id="r", source="s", language="th", licence="x")
    (tokens,) = encode_conversations([row], encoder, own, Limits(4096))
    (asked,) = prompt_ids(encoder, own, [messages[:-1]])
    if not isinstance(tokens, str):
        assert tokens.input_ids[: len(asked)].tolist() == asked
        assert own.tokenizer.decode(tokens.input_ids) == written(segments)


def test_what_renders_the_same_has_the_same_fingerprint():
    own = template(THINKING)
    before = own.fingerprint
    own.render(turns("Hi", "Yo"))

    assert own.fingerprint == before == template(THINKING).fingerprint
    others = [template(CHATML), template(THINKING, arguments={"enable_thinking": False}), template(DATED, date="2026-01-31")]
    assert len({before, template(DATED, date="2026-02-01").fingerprint, *(t.fingerprint for t in others)}) == 5


def test_it_goes_to_other_processes():
    own = pickle.loads(pickle.dumps(template(HEADERS)))
    assert trained(own.render(turns("Hi", "Yo"))) == "Yo|<|eot|>"


def test_records_that_cannot_be_rendered_are_dropped_with_the_reason():
    own = template(NO_SYSTEM)
    row = Conversation(messages=(Message("user", "a"), Message("user", "b")), record_id="r", source="s", language="en", licence="x")

    (reason,) = encode_conversations([row], SegmentEncoder(own.tokenizer), own, Limits(100))
    assert reason.startswith("the chat template cannot write this conversation (Roles must alternate)")
