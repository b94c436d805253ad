"""Raw rows to tokens: order, draws, what is found again and what is not, the same for any number of processes."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from kinnari.errors import ConfigError
from kinnari.preparation import conversations, pipeline, statistics
from kinnari.preparation.pipeline import draw
from kinnari.preparation.store import Store
from kinnari.text.truncation import Limits
from tests.kinnari.preparation.fakes import Fake, LastDigit, Shout, Without, encoding, run, talk
from tests.kinnari.text.test_template import chatml


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(conversations, "BLOCK", 5)


def everything(prepared):
    """All that a run is trained on, in order, and what was left out."""
    records = [(prepared.train.record_ids[i], *(part.tolist() for part in prepared.train[i])) for i in range(len(prepared.train))]
    held_out = [(prepared.held_out.record_ids[i], *(p.tolist() for p in prepared.held_out[i])) for i in range(len(prepared.held_out))]
    return records, held_out, list(prepared.rejects(dropped=True).lines())


def test_sources_stand_in_their_order_and_every_record_has_its_conversation():
    prepared = run(Fake(name="b", count=7), Fake(name="a", count=6))

    ids = [*prepared.train.record_ids, *prepared.held_out.record_ids]
    assert sorted(ids) == sorted([f"b:{i}" for i in range(7)] + [f"a:{i}" for i in range(6)])
    assert list(prepared.train.sources) == sorted(prepared.train.sources, reverse=True)
    for records in (prepared.train, prepared.held_out):
        assert [c.record_id for c in prepared.table_of(records)] == list(records.record_ids)


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_processes_prepares_the_same(workers):
    sources = [Fake(name="a", count=33, bad=5, answer="x" * 60), Fake(name="b", count=21, limit=12, steps={"no_four": Without("4")})]
    steps = {"shout": Shout(), "digits": LastDigit()}
    tight = {"encoding": encoding(100), "steps": steps}

    one, many = run(*sources, **tight), run(*sources, **tight, workers=workers)

    assert everything(one) == everything(many)
    for ours, theirs in zip(one.entries, many.entries, strict=True):
        names = sorted(p.name for p in ours.folder.iterdir())
        assert names == sorted(p.name for p in theirs.folder.iterdir())
        assert all((ours.folder / n).read_bytes() == (theirs.folder / n).read_bytes() for n in names)


def test_a_limit_draws_what_pandas_would_after_the_steps_of_the_source():
    source = Fake(name="a", count=50, steps={"no_nine": Without("9")}, limit=10, limit_seed=125)
    left = [i for i in range(50) if "9" not in str(i)]

    drawn = sorted(pd.Series(left).sample(n=10, random_state=125))
    assert sorted(int(r.split(":")[1]) for r in run(source, fraction=0.0).train.record_ids) == drawn


def test_a_limit_without_a_seed_of_its_own_takes_that_of_the_run():
    ids = [list(run(Fake(count=50, limit=10), seed=seed, fraction=0.0).train.record_ids) for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert draw(3, 5, 0).tolist() == [0, 1, 2]


# --- what is found again --------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    (tmp_path / "rows.jsonl").write_text("content")
    return Fake(count=12, bad=6, file=tmp_path / "rows.jsonl", steps={"no_four": Without("4")})


@dataclass(frozen=True, kw_only=True)
class _InFolder(Fake):
    """Its files are those of a folder."""

    def files(self):
        return sorted(self.file.glob("rows.*"))


def stages(prepared):
    """stage -> whether it was found; reading and cleaning of sources before that of all."""
    return [(entry.folder.name.split("-")[0], entry.found) for entry in prepared.entries]


def test_the_second_run_does_nothing(tmp_path, source):
    first = run(source, steps={"shout": Shout()}, store=Store(tmp_path / "store"))
    again = run(source, steps={"shout": Shout()}, store=Store(tmp_path / "store"), workers=2)

    assert stages(first) == [(s, False) for s in ("read", "clean", "clean", "split", "tokens")]
    assert all(found for _, found in stages(again)) and everything(first) == everything(again) and again.found


def did(tmp_path, source, again, **changes):
    """The stages that a changed second run has to do."""
    run(source, store=Store(tmp_path / "store"))
    return [stage for stage, found in stages(run(again, store=Store(tmp_path / "store"), **changes)) if not found]


def test_another_file_does_everything(tmp_path, source):
    run(source, store=Store(tmp_path / "store"))
    source.file.write_text("CONTENT")
    assert stages(run(source, store=Store(tmp_path / "store"))) == [(s, False) for s in ("read", "clean", "split", "tokens")]


def test_the_same_content_under_another_name_is_read_again(tmp_path, source):
    """The ending says how a file is read, and rejects say where it is."""
    folder = _InFolder(**(vars(source) | {"file": tmp_path}))
    assert did(tmp_path, folder, folder) == []
    source.file.rename(tmp_path / "rows.csv")

    assert stages(run(folder, store=Store(tmp_path / "store")))[0] == ("read", False)


def test_another_argument_of_the_source_does_everything(tmp_path, source):
    assert did(tmp_path, source, Fake(**(vars(source) | {"count": 11}))) == ["read", "clean", "split", "tokens"]


def test_another_step_reads_nothing(tmp_path, source):
    assert did(tmp_path, source, Fake(**(vars(source) | {"steps": {"no_four": Without("5")}}))) == ["clean", "split", "tokens"]
    assert did(tmp_path, source, source, steps={"shout": Shout()}) == ["clean", "split", "tokens"]


def test_another_split_neither_cleans_nor_tokenises(tmp_path, source):
    run(source, store=Store(tmp_path / "store"))
    again = run(source, store=Store(tmp_path / "store"), fraction=0.5)
    assert again.found and len(again.held_out) > len(run(source).held_out)
    near = run(source, store=Store(tmp_path / "store"), near=0.8)
    assert [stage for stage, found in stages(near) if not found] == ["split"]


def test_exactly_so_many_usable_records_are_held_out():
    prepared = run(Fake(count=30), Fake(name="b", count=10, answer="x" * 300), fraction=None, most=7, encoding=encoding(128, drop=True))
    assert (len(prepared.held_out), len(prepared.train)) == (7, 23)


def test_where_nothing_is_held_out_no_question_is_compared():
    prepared = run(Fake(), fraction=0.0)
    assert prepared.split is None and len(prepared.held_out) == 0


@pytest.mark.parametrize("changes", [{"max_length": 64}, {"loss_on": "everything"}, {"template": chatml(user="Q: {content}\n")}])
def test_other_tokens_neither_read_nor_clean_nor_split(tmp_path, source, changes):
    assert did(tmp_path, source, source, encoding=encoding(**changes)) == ["tokens"]


def test_another_weight_does_nothing(tmp_path, source):
    assert did(tmp_path, source, Fake(**(vars(source) | {"weight": 3.0}))) == []


def test_other_code_does_everything(tmp_path, source, monkeypatch):
    run(source, store=Store(tmp_path / "store"))
    monkeypatch.setattr(pipeline, "code_sha256", lambda packages: "edited")
    assert not any(found for _, found in stages(run(source, store=Store(tmp_path / "store"))))


def test_a_source_without_files_is_read_anew_and_what_follows_is_found(tmp_path):
    run(Fake(), store=Store(tmp_path / "store"))
    again = run(Fake(), store=Store(tmp_path / "store"))
    assert [stage for stage, found in stages(again) if not found] == []
    changed = run(Fake(answer="Other"), store=Store(tmp_path / "store"))
    assert [stage for stage, found in stages(changed) if not found] == ["read", "split", "tokens"]


def test_a_damaged_stage_is_done_again_alone(tmp_path, source):
    first = run(source, store=Store(tmp_path / "store"))
    file = next(first.tokenised.folder.glob("*.arrow"))
    expected = everything(first)
    file.write_bytes(file.read_bytes()[:-100])
    again = run(source, store=Store(tmp_path / "store"))
    assert [stage for stage, found in stages(again) if not found] == ["tokens"] and everything(again) == expected


# --- what cannot go on ----------------------------------------------------------------------------------------------------


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"both named a.*data.OPTION.name=NAME"):
        run(Fake(name="a"), Fake(name="a"))


def test_a_step_that_is_none_is_named():
    with pytest.raises(ConfigError, match=r"the cleaning step mine is a str; its class must derive from RowStep or SetStep"):
        run(Fake(name="a"), steps={"mine": "strip"})


def test_cleaning_that_leaves_nothing_says_which_step_did_it():
    with pytest.raises(ConfigError, match=r"removed every conversation \(no_a 10\)"):
        run(Fake(name="a"), steps={"no_a": Without("a"), "shout": Shout()})


def test_odd_conversations_of_a_source_become_rejects():
    class Odd(Fake):
        def read(self):
            yield from (talk("fine", "fine", record_id="a:0"), talk("\ud800", "x"), talk(), talk(None, 3))
            yield talk("q", "a\x00b", record_id="a:1")

    prepared = run(Odd(), fraction=0.0)
    assert list(prepared.train.record_ids) == ["a:0", "a:1"] and len(prepared.rejects()) == 3
    assert [json.loads(line)["step"] for line in prepared.rejects().lines()] == ["read"] * 3


def test_lengths_and_masks_are_those_of_the_records():
    prepared = run(Fake(count=9), fraction=0.0)
    lengths = [len(prepared.train[i][0]) for i in range(9)]
    assert prepared.train.lengths.tolist() == lengths
    assert prepared.train.trained_counts.tolist() == [int(prepared.train[i][1].sum()) for i in range(9)]
    assert prepared.train[0][0].dtype == np.int32 and prepared.train[0][1].dtype == bool and not prepared.train[0][1][0]


def test_what_is_split_is_several_records_of_one_conversation_on_one_side():
    limits, source = Limits(30, truncation="split"), Fake(name="a", count=6, answer="x" * 70)
    prepared, whole = run(source, encoding=encoding(limits=limits), fraction=0.4), run(source, encoding=encoding(500))

    trained = [int(i) for side in (prepared.train, prepared.held_out) for k in range(len(side)) for i in side[k][0][side[k][1]]]
    assert len(trained) == whole.train.trained_counts.sum() + whole.held_out.trained_counts.sum()
    ids = [*prepared.train.record_ids, *prepared.held_out.record_ids]
    assert len(set(ids)) == len(ids) > 18 and {"a:0", "a:0#2", "a:0#3"} <= set(ids)
    sides = [{i.split("#")[0] for i in side.record_ids} for side in (prepared.train, prepared.held_out)]
    assert not sides[0] & sides[1] and sides[1]
    assert prepared.table_of(prepared.train)[1].record_id == prepared.train.record_ids[1].split("#")[0]
    values = statistics.sources(prepared)["a"]
    assert values["rows_read"] == 6 == values["train"] + values["held_out"] - values["later_parts"]
