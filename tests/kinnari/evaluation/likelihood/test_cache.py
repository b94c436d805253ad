"""What a cache knows is not computed again, whoever computed it, also after a kill; another model's numbers are never taken."""

import copy
import multiprocessing
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

import kinnari.evaluation.likelihood.scorer as scorer_module
from kinnari.evaluation.likelihood import LikelihoodCache, LikelihoodScorer
from kinnari.evaluation.likelihood.scorer import PARTS
from kinnari.evaluation.likelihood.tree import Branch
from kinnari.models.fingerprint import model_fingerprint
from tests.kinnari.evaluation.likelihood.families import TOKENIZER, questions, tiny


def counted(scorer: LikelihoodScorer) -> list[int]:
    """Rows of every forward from now on."""
    rows: list[int] = []
    forward = scorer.engine.forward

    def counting(batch, prefix=None):
        rows.append(len(batch))
        return forward(batch, prefix)

    counting.head, counting.prefix = forward.head, forward.prefix
    scorer.engine.forward = counting
    return rows


def cached_scorer(path: Path, maker: str = "m", **more) -> LikelihoodScorer:
    return LikelihoodScorer(tiny("llama"), TOKENIZER, cache=LikelihoodCache(path, maker), **more)


def test_a_second_run_computes_nothing_and_says_the_same_bits(tmp_path):
    first = cached_scorer(tmp_path / "likelihoods.sqlite", wanted=PARTS).score(questions())
    scorer = cached_scorer(tmp_path / "likelihoods.sqlite", wanted=PARTS)
    rows, told = counted(scorer), []
    assert scorer.score(questions(), told.append) == first
    assert rows == [] and told == [len(questions())]
    assert first == LikelihoodScorer(tiny("llama"), TOKENIZER, wanted=PARTS).score(questions())


def test_new_candidates_of_a_known_question_are_computed_alone(tmp_path):
    known = [question for question in questions() if not question.header][:1]
    short = [type(known[0])(id="short", candidates=known[0].candidates[:3], gold=0)]
    cached_scorer(tmp_path / "c", wanted={"label"}).score(short)
    scorer = cached_scorer(tmp_path / "c", wanted={"label"})
    found = scorer.score(known)
    expected = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"}).score(known)
    assert [abs(a.label - b.label) < 1e-5 for a, b in zip(found[0], expected[0], strict=True)] == [True] * 6


def test_another_model_or_another_sum_is_not_found(tmp_path):
    cache = LikelihoodCache(tmp_path / "c", "one")
    branch = Branch((1, 2, 3), ((1, 3),))
    cache.save([(branch, [-1.5])])
    others = [Branch((1, 2, 4), ((1, 3),)), Branch((1, 2, 3), ((2, 3),)), Branch((1, 2, 3), ((1, 3),), 3)]
    others += [Branch((2, 3), ((1, 3),), 0, (1,))]
    assert cache.find([branch, *others]) == [[-1.5], None, None, None, None]
    assert LikelihoodCache(tmp_path / "c", "two").find([branch]) == [None]


def test_what_is_no_number_is_computed_again(tmp_path):
    cache = LikelihoodCache(tmp_path / "c", "m")
    cache.save([(Branch((1, 2), ((1, 2),)), [float("nan")])])
    assert cache.find([Branch((1, 2), ((1, 2),))]) == [None]


def _score_slowly(path: Path, said) -> None:
    torch.set_num_threads(1)  # the threads of the parent are not in a forked child
    scorer_module.SAVED_TOGETHER = 1

    def slow(done: int) -> None:
        if done == 3:
            said.send(done)
            time.sleep(600)

    cached_scorer(path, wanted={"label"}, token_budget=1).score(questions(), slow)


def test_a_run_killed_in_its_midst_goes_on_where_it_was(tmp_path):
    tiny("llama")
    context = multiprocessing.get_context("fork")
    hears, said = context.Pipe()
    process = context.Process(target=_score_slowly, args=(tmp_path / "c", said))
    process.start()
    assert hears.poll(60) and hears.recv() == 3
    process.kill()
    process.join()
    scorer = cached_scorer(tmp_path / "c", wanted={"label"}, token_budget=1)
    rows, told = counted(scorer), []
    found = scorer.score(questions(), told.append)
    assert told[0] == 3 and sum(rows) == 3, "one tree for each question that is left"
    expected = LikelihoodScorer(tiny("llama"), TOKENIZER, wanted={"label"}).score(questions())
    assert all(abs(a.label - b.label) < 1e-4 for one, other in zip(found, expected, strict=True) for a, b in zip(one, other, strict=True))


def test_the_fingerprint_is_that_of_what_is_computed_with():
    model = copy.deepcopy(tiny("llama"))
    same = model_fingerprint(model)
    assert same == model_fingerprint(copy.deepcopy(tiny("llama")).train())
    LikelihoodScorer(model, TOKENIZER)  # its head becomes one that can be asked
    assert same == model_fingerprint(model)
    changed = copy.deepcopy(model)
    changed.get_input_embeddings().weight.data[3, 4] += 1e-6
    found = {same, model_fingerprint(changed), model_fingerprint(copy.deepcopy(model).to(torch.bfloat16)), model_fingerprint(tiny("qwen2"))}
    for alpha in (8, 16):
        torch.manual_seed(0)
        config = LoraConfig(r=4, lora_alpha=alpha, target_modules=["q_proj"])
        found.add(model_fingerprint(get_peft_model(copy.deepcopy(model), config)))
    assert len(found) == 6


def _save(path: Path, process: int) -> None:
    cache = LikelihoodCache(path, "m")
    for i in range(20):
        cache.save([(Branch((process, i), ((1, 2),)), [-float(i)])])


def test_processes_share_a_file(tmp_path):
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_save, args=(tmp_path / "c", p)) for p in range(3)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    wanted = [Branch((p, i), ((1, 2),)) for p in range(3) for i in range(20)]
    assert LikelihoodCache(tmp_path / "c", "m").find(wanted) == [[-float(i)] for _ in range(3) for i in range(20)]
