"""Which tokens hold the label, what stands before the first one, and what is cut where a text is too long."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood import LikelihoodScorer
from kinnari.evaluation.likelihood.encoders import CausalEncoder, positions_of
from kinnari.evaluation.likelihood.encoding import Encoded, Piece, cut_left, encode, with_first_token
from kinnari.evaluation.question import Candidate, Question
from kinnari.models.toy import byte_tokenizer
from tests.kinnari.evaluation.likelihood.families import POSITIONS, TOKENIZER, questions, slowly, tiny


def word_tokenizer(*, special: bool = False) -> PreTrainedTokenizerFast:
    """One token a word, and 'newyork' is one too."""
    words = ["<s>", "</s>", "▁it", "▁is", "▁new", "▁york", "▁newyork", "▁big", "s"]
    vocabulary = {token: i for i, token in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="s"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    if special:
        backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def piece(before: str, label: str, after: str = "") -> Piece:
    return Piece(before, label, after, "q")


def test_label_tokens_are_those_that_hold_a_character_of_it():
    (found,) = encode(word_tokenizer(), [piece("it is", " new york", " big")])
    assert (found.ids, found.start, found.stop) == ((2, 3, 4, 5, 7), 2, 4)


def test_a_token_that_reaches_into_the_label_is_the_labels():
    (found,) = encode(word_tokenizer(), [piece("it is new", "york")])
    assert (found.ids, found.start, found.stop) == ((2, 3, 6), 2, 3)


def test_special_tokens_in_front_stay_and_the_eos_behind_is_left_out():
    (found,) = encode(word_tokenizer(special=True), [piece("it is", " big")])
    assert (found.ids, found.start, found.stop, found.lead) == ((0, 2, 3, 7), 3, 4, 1)


def test_characters_of_several_tokens_are_counted_whole():
    (found,) = encode(byte_tokenizer(), [piece("关于", "财经", "的")])
    assert (len(found.ids), found.start, found.stop) == (15, 6, 12)


def test_a_label_without_a_token_is_refused_by_its_question():
    with pytest.raises(ConfigError, match="q: the label '' has no token"):
        encode(byte_tokenizer(), [piece("a", "")])


def test_half_a_character_is_refused():
    with pytest.raises(ConfigError, match="surrogate"):
        encode(byte_tokenizer(), [piece("a", "\ud800")])


class _Slow:
    """A tokenizer that knows no offsets, in front of a fast one; `<s>` before and `</s>` behind."""

    is_fast = False

    def __call__(self, texts, add_special_tokens, **_):
        found = byte_tokenizer()(texts)["input_ids"]
        return {"input_ids": [[1, *ids, 2] if add_special_tokens else ids for ids in found]}

    def build_inputs_with_special_tokens(self, ids):
        return [1, *ids, 2]


def test_tokenizers_without_offsets_are_asked_for_the_length_of_the_text_before():
    (found,) = encode(_Slow(), [piece("ab", "cde", "f")])
    assert (len(found.ids), found.start, found.stop, found.lead) == (7, 3, 6, 1)


def test_where_the_first_token_tells_candidates_apart_bos_stands_before_it():
    same = encode(TOKENIZER, [piece("x", "a"), piece("x", "b")])
    assert with_first_token(TOKENIZER, same) == same
    apart = with_first_token(TOKENIZER, encode(TOKENIZER, [piece("x", "a"), piece("y", "a")]))
    assert [found.ids[0] for found in apart] == [1, 1] and [found.start for found in apart] == [2, 2]
    first = with_first_token(TOKENIZER, encode(TOKENIZER, [piece("", "ax"), piece("", "ay")]))
    assert [(found.ids[0], found.start, found.stop) for found in first] == [(1, 1, 3)] * 2


def test_legacy_alone_takes_the_text_as_it_is():
    asked = [[piece("", "a"), piece("", "b")]]
    assert [len(found.ids) for found in CausalEncoder(TOKENIZER, None, behind_another=False)(asked)[0]] == [1, 1]
    question = Question(id="l", candidates=(Candidate("", "ab"), Candidate("", "ba")), gold=0)
    found = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"legacy"}).score([question])[0]
    for expected, likelihood in zip(slowly(tiny("llama"), question), found, strict=True):
        assert abs(likelihood.legacy - expected["legacy"]) < 1e-5


def test_all_candidates_lose_as_much_at_the_left_and_the_first_special_token_stays():
    long, short = Encoded((0, 5, 6, 7, 8, 9), 4, 6, 1), Encoded((0, 5, 6, 7, 8), 4, 5, 1)
    assert cut_left([long, short], 4, "q") == [Encoded((0, 7, 8, 9), 2, 4, 1, cut=2), Encoded((0, 7, 8), 2, 3, 1, cut=2)]
    assert cut_left([long, short], 6, "q") == [long, short] == cut_left([long, short], None, "q")


def test_the_label_is_never_cut():
    with pytest.raises(ConfigError, match=r"q: 4 of its tokens would have to be cut .* only 3 stand before the label"):
        cut_left([Encoded((0, 5, 6, 7, 8, 9), 4, 6, 1)], 2, "q")


def test_a_text_longer_than_the_model_is_scored_without_its_beginning_and_counted(caplog):
    model = tiny("gpt2")
    long = Question(id="long", candidates=tuple(Candidate("x" * POSITIONS + "The end: ", label) for label in ("one", "three")), gold=0)
    scorer = LikelihoodScorer(model, TOKENIZER)
    found = scorer.score([long, questions()[0]])
    surplus = len("The end: three")
    assert scorer.cut == (2, 2 * surplus) and f"2 candidates were too long for the model and lost {2 * surplus} tokens" in caplog.text
    kept = Question(id="kept", candidates=tuple(Candidate(c.before[surplus:], c.label) for c in long.candidates), gold=0)
    for expected, likelihood in zip(slowly(model, kept), found[0], strict=True):
        assert abs(likelihood.label - expected["label"]) < 1e-4 and abs(likelihood.sequence - expected["sequence"]) < 1e-3
    scorer.score(questions()[:1])
    assert scorer.cut == (0, 0)


def test_the_limit_is_the_least_of_setting_and_model():
    assert positions_of(tiny("gpt2").config, TOKENIZER, None) == POSITIONS
    assert positions_of(tiny("gpt2").config, TOKENIZER, 50) == 50 == positions_of(tiny("bloom").config, TOKENIZER, 50)
    assert positions_of(tiny("bloom").config, TOKENIZER, None) is None
