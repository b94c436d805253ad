"""PanGu-alpha's tokenizer: special tokens stay whole, texts come back, and templates meet it as they do any other."""

import copy
import pickle
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kinnari.errors import ConfigError
from kinnari.models.pangu import PanguTokenizer
from kinnari.models.pangu.tokenization import word_segmenter
from kinnari.preparation.fingerprints import tokenizer_sha256
from kinnari.text.conversation import Conversation, Message
from kinnari.text.template import Template
from kinnari.text.tokens import BROKEN_TEXT, SegmentEncoder, encode_conversations
from kinnari.text.truncation import Limits
from tests.kinnari.models.pangu.toy import TEXTS, vocabulary

BOS, SEP, PAD, EOS, UNK = 1, 5, 6, 9, 0
SPECIAL = {"<unk>": 0, "<s>": 1, "</s>": 2, "<sep>": 5, "<pad>": 6, "<eot>": 9}


@pytest.fixture(scope="module", params=["control_symbols", "user_defined_symbols"])
def tokenizer(request, tmp_path_factory):
    return PanguTokenizer(str(vocabulary(tmp_path_factory.mktemp("vocabulary"), request.param)))


@pytest.fixture(scope="module")
def template():
    fields = yaml.safe_load((Path(__file__).parents[4] / "conf" / "model" / "template" / "pangu.yaml").read_text(encoding="utf-8"))
    return Template(**fields)


def plain(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_special_tokens_have_the_public_ids(tokenizer):
    named = (tokenizer.bos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    assert named == (BOS, SEP, PAD, EOS, UNK)
    assert {token: plain(tokenizer, token) for token in SPECIAL} == {token: [index] for token, index in SPECIAL.items()}
    assert len(tokenizer) == tokenizer.vocab_size == tokenizer.sp_model.get_piece_size()


def test_words_are_jiebas_and_pieces_are_sentencepieces(tokenizer):
    assert list(word_segmenter().cut("我们学习 中文\n")) == ["我们", "学习", " ", "中文", "\n"]
    assert plain(tokenizer, "我们学习 中文\n") == tokenizer.sp_model.encode("我们 学习 ▂ 中文 ▃")


def test_special_tokens_in_a_text_stay_one_token_each(tokenizer):
    assert plain(tokenizer, "鹅<sep>鸟<eot>") == [*plain(tokenizer, "鹅"), SEP, *plain(tokenizer, "鸟"), EOS]


def test_a_text_and_a_pair_are_laid_out_as_they_were_trained(tokenizer):
    a, b = plain(tokenizer, "鹅是鸟"), plain(tokenizer, "很好")
    assert tokenizer("鹅是鸟")["input_ids"] == [BOS, *a, EOS]
    assert tokenizer("鹅是鸟", "很好")["input_ids"] == [BOS, *a, SEP, *b, EOS]
    marked = tokenizer("鹅是鸟", "很好", return_special_tokens_mask=True)["special_tokens_mask"]
    assert marked == [1, *[0] * len(a), 1, *[0] * len(b), 1]


def test_padding_is_masked_on_either_side(tokenizer):
    for side in ("left", "right"):
        batch = tokenizer(["鹅", "我们学习中文"], padding=True, padding_side=side, return_tensors="pt")
        short = tokenizer("鹅")["input_ids"]
        kept = batch["input_ids"][0][batch["attention_mask"][0] == 1].tolist()
        assert kept == short and set(batch) == {"input_ids", "attention_mask"}
        assert batch["attention_mask"][0, 0 if side == "left" else -1] == 0 and PAD in batch["input_ids"][0]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back(tokenizer, text):
    # the normalisation of SentencePiece writes full-width punctuation as ASCII
    assert tokenizer.decode(plain(tokenizer, text)) == text.translate(str.maketrans("：？，！", ":?,!"))
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == tokenizer.decode(plain(tokenizer, text))


def test_special_tokens_are_written_out_unless_skipped(tokenizer):
    ids = tokenizer("鹅 是", "鸟\n")["input_ids"]
    assert tokenizer.decode(ids) == "<s>鹅 是<sep>鸟\n<eot>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "鹅 是鸟\n"
    assert tokenizer.batch_decode([ids, [PAD, *ids]], skip_special_tokens=True) == ["鹅 是鸟\n"] * 2


ALPHABET = "鹅是鸟我们学习中文春风得意aeoHw<sepot>/ \n。"


@given(st.text(alphabet=ALPHABET, max_size=30))
def test_any_text_of_known_characters_comes_back_and_never_holds_a_control_token(one_tokenizer, text):
    ids = one_tokenizer([text], add_special_tokens=False, split_special_tokens=True)["input_ids"][0]
    assert one_tokenizer.decode(ids) == text
    assert not {BOS, 2, SEP, PAD, EOS} & set(ids)
    assert SegmentEncoder(one_tokenizer).pieces.free_text([text]) == [ids]


@pytest.fixture(scope="module")
def one_tokenizer(tmp_path_factory):
    return PanguTokenizer(str(vocabulary(tmp_path_factory.mktemp("one"))))


@given(st.text(max_size=20))
def test_any_text_at_all_is_read(one_tokenizer, text):
    ids = one_tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert all(0 <= i < len(one_tokenizer) for i in ids)
    assert isinstance(one_tokenizer.decode(ids), str)


def test_a_batch_is_read_as_its_texts_are(tokenizer):
    together = tokenizer(TEXTS, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert together == [plain(tokenizer, text) for text in TEXTS]


def test_rows_beyond_the_vocabulary_decode_as_unknown(tokenizer):
    assert tokenizer.decode([len(tokenizer) + 3, *plain(tokenizer, "鹅")]) == "<unk>鹅"


def conversation(*messages: Message) -> Conversation:
    return Conversation(messages=messages, record_id="t:0", source="t", language="zh", licence="MIT")


def test_half_a_surrogate_pair_is_a_reason_and_a_nul_is_not(tokenizer, template):
    broken, whole = (conversation(Message("user", "鹅"), Message("assistant", text)) for text in ("\ud800鸟", "\0鸟"))
    rows = encode_conversations([broken, whole], SegmentEncoder(tokenizer), template, Limits(max_length=200))
    assert rows[0] == BROKEN_TEXT and tokenizer.decode(rows[1].input_ids.tolist()).startswith("<s>鹅<sep>")


def test_a_conversation_becomes_bos_prompt_sep_answer_eos_with_the_answer_trained(tokenizer, template):
    messages = (Message("user", "上联：春风得意<eot>"), Message("assistant", "下联：<sep>秋水"))
    [row] = encode_conversations([conversation(*messages)], SegmentEncoder(tokenizer), template, Limits(max_length=200))
    ids, trained = list(map(int, row.input_ids)), list(map(bool, row.trained))
    boundary = ids.index(SEP) + 1
    assert ids[0] == BOS and ids[-1] == EOS
    assert ids.count(SEP) == 1 and ids.count(EOS) == 1  # those that the texts spell are characters
    assert trained == [i >= boundary for i in range(len(ids))]
    assert tokenizer.decode(ids) == "<s>上联:春风得意<eot><sep>下联:<sep>秋水<eot>"


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "vocab.model").is_file()
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is PanguTokenizer and loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]
    assert loaded.all_special_ids == tokenizer.all_special_ids and tokenizer_sha256(loaded) != ""
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    assert (again / "vocab.model").read_bytes() == (tmp_path / "vocab.model").read_bytes()


def test_copies_in_other_processes_read_the_same(tokenizer):
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert other(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_words_added_to_jieba_elsewhere_change_no_token(tokenizer, tmp_path, monkeypatch):
    import jieba

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where jieba puts its cache
    before = plain(tokenizer, "鹅是鸟纲雁形目")
    jieba.add_word("鹅是鸟纲", freq=10**9)
    try:
        assert "鹅是鸟纲" in jieba.lcut("鹅是鸟纲雁形目") and plain(tokenizer, "鹅是鸟纲雁形目") == before
    finally:
        jieba.del_word("鹅是鸟纲")


def test_jieba_leaves_no_file_behind(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    word_segmenter.cache_clear()
    assert plain(tokenizer, "我们学习中文")
    assert list(tmp_path.iterdir()) == []


def test_without_jieba_it_says_what_to_install(tokenizer, monkeypatch):
    word_segmenter.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigError, match=r"kinnari\[zh\]"):
        plain(tokenizer, "鹅")


def test_files_that_are_no_vocabulary_of_pangu_are_refused(tmp_path):
    import sentencepiece

    with pytest.raises(ConfigError, match=r"vocab\.model"):
        PanguTokenizer()
    (tmp_path / "vocab.model").write_bytes(b"\x80\x04junk")
    with pytest.raises(ConfigError, match="no SentencePiece model"):
        PanguTokenizer(str(tmp_path / "vocab.model"))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(tmp_path / "other"), vocab_size=110, hard_vocab_limit=False, minloglevel=2
    )
    with pytest.raises(ConfigError, match="has no <eot>, <sep>, <pad>"):
        PanguTokenizer(str(tmp_path / "other.model"))
