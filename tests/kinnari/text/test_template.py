"""One renderer for training and generation; the shipped templates to the letter."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.tasks.compose import conf_folder
from kinnari.text.conversation import Message
from kinnari.text.template import Template, trained_turns

FOLDER = conf_folder() / "model" / "template"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "own")


def shipped(name):
    return Template(**yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def chatml(**changes):
    settings = {
        "name": "chatml",
        "system": "<|im_start|>system\n{content}<|im_end|>\n",
        "user": "<|im_start|>user\n{content}<|im_end|>\n",
        "user_with_context": None,
        "assistant_start": "<|im_start|>assistant\n",
        "after_eos": "\n",
        "default_system": None,
        "bos": False,
    }
    return Template(**(settings | changes))


def text_of(segments):
    """BOS as <s>, the tokenizer's EOS as </s>."""
    return "".join({"eos": "</s>", "bos": "<s>"}.get(s.kind, "") if not s.text else s.text for s in segments)


def user(content, context=""):
    return Message("user", content, context)


def assistant(content, trained=None):
    return Message("assistant", content, trained=trained)


def system(content):
    return Message("system", content)


PLAIN = [user("Q"), assistant("A")]
WITH_CONTEXT = [user("Q", "C"), assistant("A")]
TWO_TURNS = [user("Q"), assistant("A"), user("R"), assistant("B")]
WITH_SYSTEM = [system("S"), *TWO_TURNS]

NO_INPUT = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
TÂCHE = "Ci-dessous se trouve une instruction qui décrit une tâche"
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


@pytest.mark.parametrize(
    ("name", "messages", "expected"),
    [
        ("wangchan", PLAIN, "<human>: Q\n<bot>: A</s>\n"),
        ("wangchan", WITH_CONTEXT, "<context>: C\n<human>: Q\n<bot>: A</s>\n"),
        ("wangchan_alpaca", PLAIN, "<human>: Q <bot>: A</s> "),
        ("wangchan_alpaca", WITH_CONTEXT, "<human>: Q <context>: C <bot>: A</s> "),
        ("alpaca", PLAIN, f"<s>{NO_INPUT}### Instruction:\nQ\n\n### Response:\nA</s>\n\n"),
        ("alpaca", WITH_CONTEXT, f"<s>{INPUT}### Instruction:\nQ\n\n### Input:\nC\n\n### Response:\nA</s>\n\n"),
        ("alpaca_legacy", PLAIN, f"<s>{NO_INPUT}### Instruction:\nQ\n\n### Response:A</s>\n\n"),
        ("alpaca_legacy", WITH_CONTEXT, f"<s>{INPUT}### Instruction:\nQ\n\n### Input:\nC\n\n### Response:A</s>\n\n"),
        ("alpaca_qlora", PLAIN, f"<s>{NO_INPUT}### Instruction:\nQ\n\n### Response: A</s>\n\n"),
        ("alpaca_qlora", WITH_CONTEXT, f"<s>{INPUT}### Instruction:\nQ\n\n### Input:\nC\n\n### Response: A</s>\n\n"),
        ("alpaca_short", PLAIN, "<s>### Instruction:\nQ\n\n### Response:\nA</s>\n\n"),
        ("alpaca_short", WITH_CONTEXT, "<s>### Instruction:\nQ\n\n### Input:\nC\n\n### Response:\nA</s>\n\n"),
        (
            "vigogne",
            PLAIN,
            f"<s>{TÂCHE}. Écrivez une réponse qui complète correctement la demande.\n\n### Instruction:\nQ\n\n### Réponse:\nA</s>\n\n",
        ),
        (
            "vigogne",
            WITH_CONTEXT,
            f"<s>{TÂCHE}, associée à une entrée qui fournit un contexte supplémentaire. "
            "Écrivez une réponse qui complète correctement la demande.\n\n"
            "### Instruction:\nQ\n\n### Entrée:\nC\n\n### Réponse:\nA</s>\n\n",
        ),
        ("vicuna", TWO_TURNS, f"<s>{VICUNA}USER: Q ASSISTANT: A</s>USER: R ASSISTANT: B</s>"),
        ("vicuna", WITH_SYSTEM, "<s>S USER: Q ASSISTANT: A</s>USER: R ASSISTANT: B</s>"),
        ("llama2", PLAIN, "<s>[INST] Q [/INST] A</s>"),
        ("llama2", WITH_SYSTEM, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A</s><s>[INST] R [/INST] B</s>"),
        ("llama2", WITH_CONTEXT, "<s>[INST] Q\n\nC [/INST] A</s>"),
        ("pangu", PLAIN, "<s>Q<sep>A</s>"),
        ("glm", PLAIN, "[CLS]Q[SEP][MASK]<|endoftext|><|startofpiece|>A<|endofpiece|>"),
        ("glm", WITH_CONTEXT, "[CLS]Q[SEP]C[MASK]<|endoftext|><|startofpiece|>A<|endofpiece|>"),
        ("guanaco", TWO_TURNS, "<s>### Human: Q### Assistant: A</s>### Human: R### Assistant: B</s>"),
        ("plain_text", [assistant("A whole\ndocument.")], "A whole\ndocument.</s>"),
        ("encoder_pair", TWO_TURNS, "<s> Q</s></s> A</s> R</s></s> B</s>"),
        ("encoder_pair", WITH_CONTEXT, "<s> Q\n\nC</s></s> A</s>"),
        ("plain_seq2seq", WITH_CONTEXT, "Q\n\nC\nA</s>\n"),
        (
            "chatml",
            WITH_SYSTEM,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA</s>\n"
            "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\nB</s>\n",
        ),
        (
            "gemma",
            WITH_SYSTEM,
            "<s><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA</s>\n"
            "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\nB</s>\n",
        ),
    ],
)
def test_a_shipped_template_writes_this_to_the_letter(name, messages, expected):
    assert text_of(shipped(name).render(messages)) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("messages", [PLAIN, WITH_CONTEXT, TWO_TURNS, WITH_SYSTEM, [system("S"), assistant("A")]])
def test_every_shipped_template_writes_every_message_once_and_trains_the_answers(name, messages):
    segments = shipped(name).render(messages)

    people = [word for s in segments if s.kind in ("text", "answer") for word in s.text.split("\n\n")]
    assert sorted(people) == sorted(word for m in messages for word in (m.content, m.context) if word)
    assert [s.text for s in segments if s.trained and s.kind == "answer"] == [m.content for m in messages if m.role == "assistant"]
    assert {s.kind for s in segments if s.trained} == {"answer", "eos"}


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_is_the_beginning_of_the_answered_conversation(name):
    for messages in (PLAIN, WITH_CONTEXT, TWO_TURNS, WITH_SYSTEM, [assistant("A document.")]):
        prompt, whole = shipped(name).render_prompt(messages[:-1]), shipped(name).render(messages)
        assert whole[: len(prompt)] == prompt


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_template_file_is_named_after_itself(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == path.stem


def test_only_the_answer_and_its_eos_are_trained():
    segments = chatml().render([Message("user", "Hi"), Message("assistant", "Hello!")])

    assert text_of(segments) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!</s>\n"
    assert [(s.kind, s.text) for s in segments if s.trained] == [("answer", "Hello!"), ("eos", "")]


def test_every_assistant_turn_is_trained_and_ends_in_eos():
    trained = [(s.kind, s.text) for s in chatml().render(TWO_TURNS) if s.trained]
    assert trained == [("answer", "A"), ("eos", ""), ("answer", "B"), ("eos", "")]


def test_neighbouring_template_text_is_one_segment_whatever_is_trained():
    kinds = ["template", "text", "template", "answer", "eos", "template", "text", "template", "answer", "eos", "template"]
    marked = [user("Q"), assistant("A", trained=False), user("R"), assistant("B")]

    for loss_on in ("answers", "everything", "last_answer"):
        assert [s.kind for s in chatml().render(marked, loss_on)] == kinds


def trained_text(messages, loss_on, **changes):
    return text_of([s for s in chatml(**changes).render(messages, loss_on) if s.trained])


def test_last_answer_trains_the_last_answer_alone():
    assert trained_text(TWO_TURNS, "last_answer") == "B</s>"
    assert trained_text([*TWO_TURNS, user("T")], "last_answer") == "B</s>"


def test_everything_trains_prompts_and_template_text_but_not_bos():
    assert trained_text(PLAIN, "everything", bos=True) == "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA</s>\n"


def test_a_turn_says_whether_it_is_trained_whatever_the_policy():
    chosen = [user("Q"), assistant("A", trained=False), Message("user", "R", trained=True), assistant("B")]

    assert trained_text(chosen, "answers") == "RB</s>"
    assert trained_text(chosen, "last_answer") == "RB</s>"
    everything = trained_text(chosen, "everything")
    assert "RB</s>" not in everything and "R<|im_end|>" in everything and "A" not in everything.replace("assistant", "")


def test_the_eos_of_an_untrained_answer_is_untrained():
    assert trained_turns([user("Q"), assistant("A", trained=False)], "answers") == [False, False]
    assert trained_text([user("Q"), assistant("A", trained=False)], "answers") == ""


def test_an_unknown_policy_or_role_is_refused():
    with pytest.raises(ConfigError, match="answers, everything, last_answer"):
        chatml().render(PLAIN, "prompts")
    with pytest.raises(ConfigError, match="Unknown role 'tool'"):
        chatml().render([Message("tool", "x")])
    with pytest.raises(ConfigError, match="at least one message"):
        chatml().render([])


def test_the_default_system_message_gives_way_to_a_given_one():
    with_default = chatml(default_system="Be kind.")

    assert text_of(with_default.render([user("Hi")])).startswith("<|im_start|>system\nBe kind.<|im_end|>\n")
    assert "Be kind" not in text_of(with_default.render([system("Be brief."), user("Hi")]))


def test_a_default_system_message_is_template_text_and_goes_into_the_user_turn_where_that_holds_it():
    segments = chatml(default_system="Be kind.", user_with_system="[{system}|{content}]").render_prompt(
        [user("Hi"), assistant("a"), user("b")]
    )

    assert text_of(segments).startswith("[Be kind.|Hi]<|im_start|>assistant\na</s>\n<|im_start|>user\nb")
    assert segments[0].kind == "template" and segments[0].text == "[Be kind.|"


def test_context_goes_where_the_template_puts_it():
    wangchan = chatml(
        user="<human>: {content}\n", user_with_context="<context>: {context}\n<human>: {content}\n", assistant_start="<bot>: "
    )

    assert text_of(wangchan.render_prompt([user("Who?", "Ada wrote it.")])) == "<context>: Ada wrote it.\n<human>: Who?\n<bot>: "


def test_context_without_a_place_of_its_own_follows_the_content():
    assert "Who?\n\nAda wrote it." in text_of(chatml().render_prompt([user("Who?", "Ada wrote it.")]))


@given(st.text(max_size=30))
def test_user_text_never_becomes_template_text(content):
    segments = chatml().render([Message("user", content), Message("assistant", "ok")])

    assert [s.text for s in segments if s.kind == "text"] == ([content] if content else [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": "Hi"}, r"user='Hi' lacks \{content\}"),
        ({"system": ""}, r"system='' lacks \{content\}"),
        ({"user_with_context": "{content}"}, r"lacks \{context\}"),
        ({"user_with_system": "{content}"}, r"lacks \{system\}"),
    ],
)
def test_a_pattern_that_would_lose_a_message_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        chatml(**changes)


def test_braces_in_the_content_are_not_fields():
    segments = chatml().render([Message("user", "{content} {x} {system}")])

    assert "{content} {x} {system}" in text_of(segments)
