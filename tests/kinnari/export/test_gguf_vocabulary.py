"""Tokenizers in GGUF: types, special ids, cuts, scores, and the same ids after reading back."""

import json

import gguf
import pytest
import sentencepiece
from gguf import TokenType
from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig

from kinnari.errors import ConfigError
from kinnari.export.gguf import write_gguf
from kinnari.export.gguf_vocabulary import read_vocabulary
from kinnari.models.gguf import convert_gguf
from kinnari.models.gguf_split import SPLITS
from kinnari.models.toy import byte_tokenizer
from tests.kinnari.export.gguf_folders import TEXTS, byte_level_tokenizer, save_sentencepiece, tiny_model


def config(rows: int, **settings) -> LlamaConfig:
    return LlamaConfig(vocab_size=rows, bos_token_id=1, eos_token_id=2, **settings)


def reread(folder, file, cache):
    """The tokenizer of the folder, and the one that its GGUF file gives back."""
    write_gguf(folder, file, "F16")
    return AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(convert_gguf(file, cache))


def test_tokens_have_their_types(tmp_path):
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    found = read_vocabulary(tmp_path, config(len(tokenizer) + 2))
    assert (found.model, found.pre) == ("gpt2", "gpt-2")
    assert found.tokens[:5] == ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    assert found.types[:3] == [TokenType.CONTROL] * 3, "special: pad, bos, eos"
    assert found.types[tokenizer.convert_tokens_to_ids("<think>")] == TokenType.USER_DEFINED, "added, not special"
    assert found.types[10] == TokenType.NORMAL
    assert found.tokens[-2:] == [f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]"]
    assert found.types[-2:] == [TokenType.UNUSED] * 2, "rows without a token"
    assert found.special == {"bos": 1, "eos": 2, "pad": 0}
    assert (found.add_bos, found.add_eos) == (False, False)


def test_the_model_names_bos_where_the_tokenizer_has_none(tmp_path):
    tokenizer = byte_level_tokenizer()
    tokenizer.bos_token = None
    tokenizer.save_pretrained(tmp_path)
    assert read_vocabulary(tmp_path, config(len(tokenizer))).special["bos"] == 1
    several = LlamaConfig(vocab_size=len(tokenizer), bos_token_id=7, eos_token_id=[2, 4])
    assert read_vocabulary(tmp_path, several).special == {"bos": 7, "eos": 2, "pad": 0}


@pytest.mark.parametrize("name", SPLITS)
def test_every_cut_is_named_and_read_back(tmp_path, name):
    split = SPLITS[name]
    tokenizer = byte_level_tokenizer(split.pre_tokenizer, split.ignore_merges)
    tokenizer.save_pretrained(tmp_path / "folder")
    tiny_model("llama", len(tokenizer)).save_pretrained(tmp_path / "folder")
    original, back = reread(tmp_path / "folder", tmp_path / "model.gguf", tmp_path / "cache")
    assert gguf.GGUFReader(tmp_path / "model.gguf").fields["tokenizer.ggml.pre"].contents() == name
    for text in TEXTS:
        assert back(text)["input_ids"] == original(text)["input_ids"], text


def test_a_cut_without_a_name_is_refused(tmp_path):
    cut = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("[aeiou]"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer = byte_level_tokenizer(cut)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"no name for.*gpt-2, smollm, llama-bpe"):
        read_vocabulary(tmp_path, config(len(tokenizer)))


def test_a_vocabulary_of_bytes_alone_needs_no_cut(tmp_path):
    """The byte tokenizer of the toys: no merges, so no cut changes its ids."""
    byte_tokenizer().save_pretrained(tmp_path / "folder")
    tiny_model("llama", len(byte_tokenizer())).save_pretrained(tmp_path / "folder")
    original, back = reread(tmp_path / "folder", tmp_path / "model.gguf", tmp_path / "cache")
    assert gguf.GGUFReader(tmp_path / "model.gguf").fields["tokenizer.ggml.merges"].contents() == []
    for text in TEXTS:
        assert back(text)["input_ids"] == original(text)["input_ids"], text


def test_tokens_beyond_the_embedding_are_refused(tmp_path):
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"ids up to {len(tokenizer) - 1}, the model {len(tokenizer) - 1} rows.*Resize"):
        read_vocabulary(tmp_path, config(len(tokenizer) - 1))


@pytest.mark.parametrize(
    ("model", "tokenizer_class", "prefix"),
    [
        ("llama", "LlamaTokenizer", True),
        ("gemma2", "GemmaTokenizer", False),
        ("gemma3_text", "GemmaTokenizer", False),
        ("mistral", "LlamaTokenizer", False),  # transformers puts no space before a Mistral text
    ],
)
def test_sentencepiece_reads_back_to_the_same_ids(tmp_path, model, tokenizer_class, prefix):
    tiny_model(model, 488).save_pretrained(tmp_path / "folder")
    save_sentencepiece(tmp_path / "folder", tokenizer_class, prefix)
    original, back = reread(tmp_path / "folder", tmp_path / "model.gguf", tmp_path / "cache")
    for text in (*TEXTS, "a<s>b</s>", "unseen: ⴰⵣⵓⵍ"):
        ids = original(text)["input_ids"]
        assert back(text)["input_ids"] == ids, text
        assert back.decode(ids) == original.decode(ids), text
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.ggml.model"].contents() == "llama"
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    assert fields["tokenizer.ggml.add_space_prefix"].contents() is prefix
    assert "tokenizer.ggml.merges" not in fields, "the scores say it all"


def test_scores_order_pieces_as_sentencepiece_does(tmp_path):
    tiny_model("llama", 488).save_pretrained(tmp_path)
    save_sentencepiece(tmp_path, "LlamaTokenizer", True)
    found = read_vocabulary(tmp_path, config(488))
    truth = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    made = [index for index in range(480) if len(truth.IdToPiece(index)) > 1 and found.types[index] == TokenType.NORMAL]
    assert len(made) > 50
    assert [found.scores[index] for index in made] == [truth.GetScore(index) for index in made]
    assert {found.types[index] for index in range(480) if truth.IsByte(index)} == {TokenType.BYTE}
    assert found.types[480:] == [TokenType.UNUSED] * 8


def test_merges_that_the_scores_do_not_give_are_kept(tmp_path):
    """A tokenizer trained with `tokenizers` knows one way to a piece, where SentencePiece tries every one."""
    tiny_model("llama", 488).save_pretrained(tmp_path / "folder")
    save_sentencepiece(tmp_path / "folder", "LlamaTokenizer", True)
    AutoTokenizer.from_pretrained(tmp_path / "folder").save_pretrained(tmp_path / "folder")
    (tmp_path / "folder" / "tokenizer.model").unlink()
    path = tmp_path / "folder" / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    made: dict[str, list[str]] = {}
    for left, right in state["model"]["merges"]:
        made.setdefault(left + right, [left, right])
    state["model"]["merges"] = list(made.values())
    path.write_text(json.dumps(state), encoding="utf-8")
    original, back = reread(tmp_path / "folder", tmp_path / "model.gguf", tmp_path / "cache")
    assert len(gguf.GGUFReader(tmp_path / "model.gguf").fields["tokenizer.ggml.merges"].contents()) == len(made)
    for text in TEXTS:
        assert back(text)["input_ids"] == original(text)["input_ids"], text


def test_a_unigram_tokenizer_is_refused(tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="of kind Unigram"):
        read_vocabulary(tmp_path, config(10))
