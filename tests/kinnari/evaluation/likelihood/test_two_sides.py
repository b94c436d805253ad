"""Encoder-decoders, GLM's blanks and chats: what each side sees, against forwards of one candidate."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kinnari.errors import ConfigError
from kinnari.evaluation.likelihood import LikelihoodScorer
from kinnari.evaluation.question import Candidate, Question
from kinnari.models.glm.inputs import build_inputs_for_generation, build_inputs_for_multiple_choice, choice_scores
from kinnari.models.toy import FAMILY_TOKENS, byte_tokenizer
from kinnari.text.conversation import Message
from kinnari.text.template import Template
from kinnari.text.tokens import SegmentEncoder
from tests.kinnari.evaluation.likelihood.families import TOKENIZER, plain_logprobs, questions, tiny

CHAT = Template(
    name="chat", system="{content}", user="<|im_start|>user\n{content}<|im_end|>\n", user_with_context=None,
    assistant_start="<|im_start|>assistant\n", after_eos="\n", default_system=None, bos=True, answer_end="<|im_end|>",
)  # fmt: skip
PARTS = ("sequence", "label", "continuation", "unconditional")


def ids(text: str, tokenizer=TOKENIZER) -> list[int]:
    return list(tokenizer(text)["input_ids"])


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(0)
    config = AutoConfig.for_model("mt5", vocab_size=262, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                                  pad_token_id=0, eos_token_id=2, decoder_start_token_id=0)  # fmt: skip
    return AutoModelForSeq2SeqLM.from_config(config).eval()


def decoder_logprobs(model, source: list[int], target: list[int]) -> list[float]:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *target[:-1]]])).logits[0]
    logprobs = logits.double().log_softmax(-1)
    return [float(logprobs[t, token]) for t, token in enumerate(target)]


@pytest.mark.parametrize("shares_encoder", [True, False])
@pytest.mark.parametrize("budget", [1, 4096])
def test_the_decoder_says_the_label_and_what_follows_it(t5, shares_encoder, budget):
    scorer = LikelihoodScorer(t5, TOKENIZER, wanted=PARTS, token_budget=budget)
    scorer.engine.shares_encoder = shares_encoder
    for question, found in zip(questions(), scorer.score(questions()), strict=True):
        for candidate, likelihood in zip(question.candidates, found, strict=True):
            said = decoder_logprobs(t5, ids(question.header + candidate.before), ids(candidate.label + candidate.after))
            length = len(ids(candidate.label))
            assert likelihood.continuation == likelihood.sequence == pytest.approx(sum(said), abs=1e-4)
            assert likelihood.label == pytest.approx(sum(said[:length]), abs=1e-4)
            assert (likelihood.label_tokens, likelihood.continuation_tokens) == (length, len(said))
            alone = decoder_logprobs(t5, ids(question.premise), ids(candidate.label))
            assert likelihood.unconditional == pytest.approx(sum(alone), abs=1e-4)


def test_a_question_goes_through_the_encoder_once(t5, monkeypatch):
    rows = []
    encoder = t5.get_encoder()
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda input_ids, **rest: rows.append(len(input_ids)) or forward(input_ids, **rest))
    LikelihoodScorer(t5, TOKENIZER, wanted={"label"}).score(questions())
    assert sum(rows) == len(questions())


def test_a_source_too_long_loses_its_beginning(t5):
    long = Question(id="long", candidates=tuple(Candidate("abcdefghij", label) for label in ("x", "yz")), gold=0)
    scorer = LikelihoodScorer(t5, TOKENIZER, max_length=4)
    found = scorer.score([long])[0]
    assert scorer.cut == (2, 12)
    assert found[1].label == pytest.approx(sum(decoder_logprobs(t5, ids("ghij"), ids("yz"))), abs=1e-4)


GLM_TOKENIZER = byte_tokenizer(FAMILY_TOKENS["glm_chinese"])


@pytest.fixture(scope="module")
def glm():
    of = GLM_TOKENIZER.convert_tokens_to_ids
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "glm_chinese", vocab_size=len(GLM_TOKENIZER), hidden_size=32, num_layers=2, num_attention_heads=4, max_sequence_length=200,
        pad_token_id=0, eos_token_id=of("<|endoftext|>"), mask_token_ids=of(["[MASK]", "[gMASK]", "[sMASK]"]),
        sop_token_id=of("<|startofpiece|>"), eop_token_id=of("<|endofpiece|>"),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(4 if parameter.dim() > 1 else 1)
    return model


@pytest.mark.parametrize("budget", [1, 4096])
def test_a_blank_is_filled_as_glm_fills_it(glm, budget):
    blanks = glm.config.blanks
    for question, found in zip(
        questions(), LikelihoodScorer(glm, GLM_TOKENIZER, wanted=PARTS, token_budget=budget).score(questions()), strict=True
    ):
        one = question.candidates[0]
        context = ids(question.header + one.before + "[MASK]" + one.after, GLM_TOKENIZER)
        labels = [ids(candidate.label, GLM_TOKENIZER) for candidate in question.candidates]
        with torch.no_grad():
            expected = choice_scores(glm, build_inputs_for_multiple_choice(context, labels, blanks)).tolist()
        assert [likelihood.label for likelihood in found] == pytest.approx(expected, abs=1e-4)
        assert [likelihood.sequence for likelihood in found] == pytest.approx(expected, abs=1e-4)
        row = build_inputs_for_generation([context], blanks, [labels[2]])  # and as it is trained
        with torch.no_grad():
            logprobs = glm(row["input_ids"], attention_mask=row["attention_mask"]).logits[0].log_softmax(-1)
        plain = sum(float(logprobs[len(context) + t, token]) for t, token in enumerate(labels[2]))
        assert found[2].label == pytest.approx(plain, abs=1e-4)


def test_the_blank_is_never_cut(glm):
    fits = Question(id="fits", candidates=tuple(Candidate("x" * 300, label) for label in "ab"), gold=0)
    scorer = LikelihoodScorer(glm, GLM_TOKENIZER)
    scorer.score([fits])
    assert scorer.cut == (2, 2 * (300 + 1 + 2 - 200))
    behind = Question(id="behind", candidates=tuple(Candidate("", label, "x" * 300) for label in "ab"), gold=0)
    with pytest.raises(ConfigError, match=r"behind: .* before the blank"):
        scorer.score([behind])


@pytest.mark.parametrize("model", ["t5", "glm"])
def test_system_rs_rule_needs_a_row_of_text(model, request):
    with pytest.raises(ConfigError, match="two sides"):
        LikelihoodScorer(request.getfixturevalue(model), GLM_TOKENIZER, wanted={"legacy"})


def test_a_chat_asks_in_the_users_turn_and_scores_the_assistants():
    question = Question(id="c", header="a: 1\n", candidates=(Candidate("b: ", " 23", "!"), Candidate("b: ", " 2", "?")), gold=0)
    found = LikelihoodScorer(tiny("llama"), TOKENIZER, template=CHAT).score([question])[0]
    prompt = SegmentEncoder(TOKENIZER).encode_all([CHAT.render_prompt([Message("user", "a: 1\nb: ")])])[0].input_ids
    for candidate, likelihood in zip(question.candidates, found, strict=True):
        label, answer = ids(candidate.label.strip()), ids(candidate.label.strip() + candidate.after)
        row = [*prompt, *answer]
        logprobs = plain_logprobs(tiny("llama"), row)
        behind = [float(logprobs[t - 1, row[t]]) for t in range(1, len(row))]
        assert likelihood.sequence == pytest.approx(sum(behind), abs=1e-4)
        assert likelihood.continuation == pytest.approx(sum(behind[len(prompt) - 1 :]), abs=1e-4)
        assert likelihood.label == pytest.approx(sum(behind[len(prompt) - 1 : len(prompt) - 1 + len(label)]), abs=1e-4)


def test_a_chat_with_an_encoder_decoder_renders_the_source(t5):
    found = LikelihoodScorer(t5, TOKENIZER, template=CHAT, wanted={"label"}).score(questions()[:1])[0]
    assert all(likelihood.label < 0 for likelihood in found)
    bare = LikelihoodScorer(t5, TOKENIZER, wanted={"label"}).score(questions()[:1])[0]
    assert found[0].label != bare[0].label
