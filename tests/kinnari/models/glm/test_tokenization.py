"""The ten tokens and their places, saving, truncation, and Kinnari's template on top."""

import pytest
import torch
from transformers import AutoTokenizer

from kinnari.errors import ConfigError
from kinnari.models.glm import GLMTokenizer
from kinnari.tasks.build import template
from kinnari.tasks.compose import compose
from kinnari.text.conversation import Conversation, Message
from kinnari.text.tokens import SegmentEncoder, answer_end_id, encode_conversations, prompt_ids
from kinnari.text.truncation import Limits
from tests.kinnari.models.glm.toys import CLS, EOP, EOT, GMASK, MASK, SEP, SMASK, SOP, TEXT, public_folder, toy_model, train_pieces

NAMES = ["<|endoftext|>", "[SEP]", "[CLS]", "[MASK]", "<|startofpiece|>", "<|endofpiece|>", "[sMASK]", "[gMASK]"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return GLMTokenizer(str(train_pieces(tmp_path_factory.mktemp("pieces"))))


def test_the_ten_tokens_follow_the_pieces_in_the_public_order(tokenizer):
    assert tokenizer.convert_tokens_to_ids(NAMES) == [EOT, SEP, CLS, MASK, SOP, EOP, SMASK, GMASK]
    assert (tokenizer.vocab_size, len(tokenizer)) == (50, 60)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.bos_token_id) == (EOT, EOT, MASK, None)
    assert (tokenizer.sop_token_id, tokenizer.eop_token_id, tokenizer.mask_token_ids) == (SOP, EOP, [MASK, GMASK, SMASK])


def test_one_text_and_two_get_their_frame(tokenizer):
    one, two = tokenizer("你好", add_special_tokens=False)["input_ids"], tokenizer("我很好", add_special_tokens=False)["input_ids"]

    assert tokenizer("你好")["input_ids"] == [CLS, *one, EOT]
    assert tokenizer("你好", "我很好[MASK]")["input_ids"] == [CLS, *one, SEP, *two, MASK, EOT]
    assert set(tokenizer("你好")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("text", [*TEXT, ""])
def test_texts_round_trip_as_sentencepiece_normalises_them(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    normalised = tokenizer.sp_model.decode(tokenizer.sp_model.encode(text))

    assert tokenizer.decode(ids, skip_special_tokens=True) == normalised
    assert tokenizer.decode(ids) == f"[CLS]{normalised}<|endoftext|>"


def test_the_left_is_cut_off_unless_told_otherwise(tokenizer):
    whole = tokenizer(f"{TEXT[0]}[MASK]", add_special_tokens=False)["input_ids"]

    assert tokenizer(f"{TEXT[0]}[MASK]", truncation=True, max_length=6)["input_ids"] == [CLS, *whole[-4:], EOT]
    tokenizer.truncation_side = "right"
    try:
        assert tokenizer(f"{TEXT[0]}[MASK]", truncation=True, max_length=6)["input_ids"] == [CLS, *whole[:4], EOT]
    finally:
        tokenizer.truncation_side = "left"


def test_a_saved_tokenizer_is_the_same_one(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)

    assert type(again) is GLMTokenizer
    assert again.get_vocab() == tokenizer.get_vocab() and len(again) == len(tokenizer)
    assert again("你好[gMASK]吗")["input_ids"] == tokenizer("你好[gMASK]吗")["input_ids"]
    assert (again.eos_token_id, again.pad_token_id, again.truncation_side) == (EOT, EOT, "left")


def test_tokens_added_by_a_user_survive_saving(tmp_path):
    tokenizer = GLMTokenizer(str(train_pieces(tmp_path / "pieces")))
    tokenizer.add_tokens(["新词"])
    tokenizer.save_pretrained(tmp_path / "saved")

    assert AutoTokenizer.from_pretrained(tmp_path / "saved").convert_tokens_to_ids(["新词", "[gMASK]"]) == [60, GMASK]


def test_the_public_folder_gives_this_tokenizer_and_runs_no_code_of_its_own(tokenizer, tmp_path):
    folder = public_folder(tmp_path, toy_model())
    public = AutoTokenizer.from_pretrained(folder)

    assert type(public) is GLMTokenizer
    assert public.get_vocab() == tokenizer.get_vocab()
    assert public.convert_tokens_to_ids(NAMES) == [EOT, SEP, CLS, MASK, SOP, EOP, SMASK, GMASK]


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_broken_sentencepiece_model_is_named(tmp_path, content):
    file = tmp_path / "cog-pretrain.model"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match="no SentencePiece model"):
        GLMTokenizer(str(file))


def test_the_template_lays_out_prompt_blank_and_answer(tokenizer):
    encoder, glm = SegmentEncoder(tokenizer), template(compose(["model/template=glm"]), tokenizer)
    messages = (Message("user", "你好吗？"), Message("assistant", "我很好"))
    question, answer = (tokenizer(m.content, add_special_tokens=False)["input_ids"] for m in messages)

    (tokens,) = encode_conversations(
        [Conversation(messages=messages, record_id="r:0", source="s", language="zh", licence="x")], encoder, glm, Limits(64)
    )

    assert list(tokens.input_ids) == [CLS, *question, SEP, MASK, EOT, SOP, *answer, EOP]
    assert [i for i, t in zip(tokens.input_ids, tokens.trained, strict=True) if t] == [*answer, EOP]
    assert prompt_ids(encoder, glm, [messages[:1]]) == [[CLS, *question, SEP, MASK, EOT, SOP]]
    assert answer_end_id(encoder, glm) == EOP


def test_a_user_cannot_type_the_ten_tokens(tokenizer):
    encoder, glm = SegmentEncoder(tokenizer), template(compose(["model/template=glm"]), tokenizer)

    (ids,) = prompt_ids(encoder, glm, [(Message("user", "你好[gMASK]<|startofpiece|>[MASK]"),)])

    assert (ids.count(SOP), ids.count(MASK), ids.count(GMASK)) == (1, 1, 0)


def test_texts_become_inputs_for_generation_and_for_choices(tokenizer):
    inputs = tokenizer.build_inputs_for_generation(["你好[MASK]", "我很好，谢谢[gMASK]"], max_context=6)
    assert inputs["input_ids"][:, -3:].tolist() == [[MASK, EOT, SOP], [GMASK, EOT, SOP]]
    assert inputs["input_ids"].shape == (2, 7)

    trained = tokenizer.build_inputs_for_generation(["你好[MASK]"], ["我很好"])
    answer = tokenizer("我很好", add_special_tokens=False)["input_ids"]
    assert trained["labels"][0][trained["labels"][0] != -100].tolist() == [*answer, EOP]

    row = tokenizer.build_inputs_for_multiple_choice("你好[MASK]", ["我很好", "谢谢"])
    assert row.count == 2 and torch.equal(
        row.targets[0, -1:], row.targets.new_tensor(tokenizer("谢谢", add_special_tokens=False)["input_ids"][-1:])
    )
