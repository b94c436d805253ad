"""The data side of preference learning."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import PreferenceDataModule
from datamodules.preference import prompt_keys
from datamodules.sources import Alpaca, RankedSource
from kinnari.cleaning.step import RowStep
from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message, Reject, normalise_question
from kinnari.text.ranked import ScoredAnswer
from kinnari.text.split import near_duplicate_groups
from tests.kinnari.text.test_template import chatml


@dataclass(frozen=True, kw_only=True)
class Fake(RankedSource):
    """Prompts given as tuples of turns, each with three answers that score 2, 1, 1; and perhaps a rejected row."""

    prompts: tuple[tuple[str, ...], ...]
    rejected: int = 0
    name: str = "fake"
    licence: str = "MIT"

    def files(self):
        return [Path(__file__)]

    def read_ranked(self):
        for i in range(self.rejected):
            yield Reject(source=self.name, file="f.json", line=i + 1, reason="broken")
        for i, turns in enumerate(self.prompts):
            prompt = tuple(Message("assistant" if n % 2 else "user", text) for n, text in enumerate(turns))
            answers = tuple(ScoredAnswer(f"{self.name} {text} {i}", score) for text, score in (("best", 2.0), ("worse", 1.0), ("bad", 1.0)))
            yield self.ranked((prompt, answers), i)


NOUNS = ("bread", "rivers", "planets", "taxes", "violins", "glaciers", "honey", "chess", "volcanoes", "ink", "tides", "wool")
VERBS = ("made", "found in nature", "taught to small children", "drawn with a ruler", "kept over the winter", "sold at markets")
DIFFERENT = tuple((f"Please explain to me how {noun} may best be {verb}",) for noun in NOUNS for verb in VERBS)


def build(*sources, **changes):
    given = {"held_out_fraction": 0.25, "seed": 0, "near_duplicates": None} | changes
    module = PreferenceDataModule({source.name: source for source in sources}, **given)
    module.setup()
    return module


def asked(table):
    return {tuple(m.content for m in ranked.prompt) for ranked in table.prompts}


def test_prompts_are_split_and_paired_on_either_side():
    data = build(Fake(prompts=DIFFERENT[:40]))

    assert len(data.held_out_pairs.prompts) == 10 and len(data.train_pairs.prompts) == 30
    assert len(data.train_pairs) == 60 and len(data.held_out_pairs) == 20
    assert asked(data.train_pairs) | asked(data.held_out_pairs) == set(DIFFERENT[:40])
    # System R's held-out set was the beginning of its training set.
    assert not asked(data.train_pairs) & asked(data.held_out_pairs)
    for pair in [*data.train_pairs, *data.held_out_pairs]:
        assert pair.chosen.prompt() == pair.rejected.prompt()
        assert (pair.score_chosen, pair.score_rejected) == (2.0, 1.0)


def test_without_a_fraction_so_many_prompts_are_held_out():
    data = build(Fake(prompts=DIFFERENT[:40]), held_out_fraction=None, held_out_most=7)

    assert len(data.held_out_pairs.prompts) == 7 and len(data.train_pairs.prompts) == 33


def test_setup_twice_reads_once():
    data = build(Fake(prompts=DIFFERENT[:8], rejected=1))
    table = data.train_pairs
    data.setup("fit")
    assert data.train_pairs is table and len(data.rejects) == 1


turns = st.sampled_from(["What is AI?", "what is ai", "Who are you?", "Tell me a joke", "안녕", "你好", "สวัสดี", "Yes please"])


@settings(deadline=None)
@given(st.lists(st.lists(turns, min_size=1, max_size=3), min_size=2, max_size=25), st.integers(0, 5))
def test_no_prompt_and_no_first_question_is_on_both_sides(dialogues, seed):
    source = Fake(prompts=tuple(tuple(t for q in d for t in (q, "answer"))[:-1] for d in dialogues))

    data = build(source, held_out_fraction=0.4, seed=seed)

    train, held = ({key for ranked in table.prompts for key in prompt_keys(ranked)} for table in (data.train_pairs, data.held_out_pairs))
    assert not train & held
    assert len(data.train_pairs.prompts) + len(data.held_out_pairs.prompts) == len(dialogues)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 71), st.integers(0, 40)), min_size=2, max_size=30), st.integers(0, 5))
def test_no_near_duplicate_of_a_prompt_is_on_both_sides(picks, seed):
    def edited(text, place):
        return text[:place] + "x" + text[place + 1 :] if place else text

    source = Fake(prompts=tuple((edited(DIFFERENT[i][0], place),) for i, place in picks))

    data = build(source, held_out_fraction=0.4, seed=seed, near_duplicates=0.7)

    sides = [[normalise_question(next(iter(p))) for p in asked(table)] for table in (data.train_pairs, data.held_out_pairs)]
    groups = near_duplicate_groups(sides[0] + sides[1], 0.7)
    assert not set(groups[: len(sides[0])]) & set(groups[len(sides[0]) :])


def test_an_edited_copy_of_a_held_out_prompt_is_held_out_with_it():
    prompts = DIFFERENT[::6]
    held = asked(build(Fake(prompts=prompts), held_out_fraction=0.3).held_out_pairs)
    copies = tuple((p[0].replace("explain", "describe"),) for p in prompts)

    data = build(Fake(prompts=prompts + copies), held_out_fraction=0.3, near_duplicates=0.5)

    assert held
    for original, copy in zip(prompts, copies, strict=True):
        assert (original in asked(data.train_pairs)) == (copy in asked(data.train_pairs))


def test_cuts_of_one_dialogue_stay_together_and_a_common_later_turn_joins_nothing():
    dialogue = ("How do I bake bread?", "With flour.", "Yes please", "Then salt.", "And then?")
    other = ("Who was Chopin?", "A composer.", "Yes please")

    keys = [set(prompt_keys(r)) for r in Fake(prompts=(dialogue, dialogue[:3], dialogue[:1], other)).read_ranked()]

    assert keys[0] & keys[1] & keys[2]
    assert not keys[3] & (keys[0] | keys[1] | keys[2])


def test_answers_without_a_prompt_are_told_apart_by_the_answers():
    data = build(Fake(prompts=((),) * 12, name="alone"), Fake(prompts=DIFFERENT[:12]))
    assert {r.source for r in data.train_pairs.prompts} == {"alone", "fake"}


@pytest.mark.parametrize(("settings", "per_prompt"), [({"construction": "all"}, 2), ({"most_pairs": 1}, 1), ({}, 2)])
def test_construction_and_most_pairs_decide_how_many_pairs_a_prompt_has(settings, per_prompt):
    data = build(Fake(prompts=DIFFERENT[:8]), **settings)
    assert len(data.train_pairs) == per_prompt * len(data.train_pairs.prompts) == per_prompt * 6


def test_a_limit_draws_prompts_with_a_seed():
    def drawn(**changes):
        data = build(Fake(prompts=DIFFERENT[:40], limit=10, **changes.pop("source", {})), **changes)
        return asked(data.train_pairs) | asked(data.held_out_pairs)

    assert len(drawn()) == 10 and drawn() == drawn()
    assert drawn() != drawn(seed=1)
    assert drawn(source={"limit_seed": 3}) == drawn(source={"limit_seed": 3}, seed=1)


@dataclass(frozen=True)
class Clean(RowStep):
    """Bad answers go, `fake` becomes `real`, prompts that speak of honey go altogether."""

    def __call__(self, conversation: Conversation) -> Conversation | str:
        if "honey" in conversation.messages[0].content:
            return "honey"
        if "bad" in conversation.messages[-1].content:
            return "bad"
        return replace(conversation, messages=tuple(replace(m, content=m.content.replace("fake", "real")) for m in conversation.messages))


def test_the_cleaning_steps_of_a_source_see_every_answer():
    data = build(Fake(prompts=DIFFERENT[:48], steps={"clean": Clean()}))

    found = {c.reference() for table in (data.train_pairs, data.held_out_pairs) for p in table for c in (p.chosen, p.rejected)}
    assert found and all(text.startswith(("real best", "real worse")) for text in found)
    assert [(r.step, r.reason) for r in data.rejects] == [("clean", "honey")] * 6


def test_a_step_that_compares_records_is_refused():
    with pytest.raises(ConfigError, match=r"data\.fake\.steps\.dedup compares records"):
        build(Fake(prompts=DIFFERENT[:4], steps={"dedup": object()}))


def test_pairs_longer_than_the_model_reads_are_left_out_and_counted(caplog):
    prompts = (("short question",), ("long question " * 40,), ("short, too",))
    data = build(Fake(prompts=prompts), tokenizer=byte_tokenizer(), template=chatml(), max_length=200, held_out_fraction=0)

    assert {pair.chosen.messages[0].content for pair in data.train_pairs} == {"short question", "short, too"}
    assert [(r.step, r.file) for r in data.rejects] == [("max_length", "fake:1/0-1"), ("max_length", "fake:1/0-2")]
    assert "more than max_length=200" in data.rejects[0].reason
    with pytest.raises(ConfigError, match="Raise max_length"):
        build(Fake(prompts=prompts), tokenizer=byte_tokenizer(), template=chatml(), max_length=5)
    with pytest.raises(ConfigError, match="needs tokenizer= and template="):
        build(Fake(prompts=prompts), max_length=5)


def test_counts_add_up_and_lineage_names_the_files(caplog):
    with caplog.at_level(logging.WARNING):
        data = build(Fake(prompts=DIFFERENT[:20], rejected=3), Fake(prompts=DIFFERENT[20:30], name="other"))

    fake, other = data.counts()["fake"], data.counts()["other"]
    assert fake["train_prompts"] + fake["held_out_prompts"] == 20 and fake["rejected"] == 3
    assert fake["train_pairs"] == 2 * fake["train_prompts"] and other["rejected"] == 0
    assert other["train_prompts"] + other["held_out_prompts"] == 10
    assert "fake: 20 prompts kept, 3 rows or prompts rejected" in caplog.text
    lineage = data.lineage()["fake"]
    assert lineage["licence"] == "MIT" and lineage["files"][0]["file"] == "test_preference.py"
    assert lineage["train_pairs"] == fake["train_pairs"]


@dataclass(frozen=True, kw_only=True)
class Tied(Fake):
    """Prompts whose answers all score alike."""

    def read_ranked(self):
        for item in super().read_ranked():
            yield replace(item, answers=tuple(replace(a, score=1.0) for a in item.answers))


def test_prompts_without_a_pair_are_rejected_and_a_source_of_nothing_else_is_refused():
    data = build(Fake(prompts=DIFFERENT[:4]), held_out_fraction=0)
    assert data.rejects == [] and len(data.held_out_pairs) == 0
    with pytest.raises(ConfigError, match=r"tied: no prompt of 2 has two answers to compare.*no two different answers of different score"):
        build(Tied(prompts=DIFFERENT[:2], name="tied"))


def test_a_source_without_ranked_answers_is_refused():
    with pytest.raises(ConfigError, match="data=alpaca has one answer to a prompt"):
        build(Alpaca(path="x"))
