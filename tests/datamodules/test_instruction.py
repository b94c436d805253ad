"""The instruction datamodule."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from datamodules import InstructionDataModule
from datamodules.sources.source import Source
from kinnari.errors import ConfigError
from kinnari.models.toy import byte_tokenizer
from kinnari.text.conversation import Conversation, Message, Reject
from tests.kinnari.preparation.fakes import Without
from tests.kinnari.text.test_template import chatml


@dataclass(frozen=True, kw_only=True)
class Fake(Source):
    """`count` questions with one answer each, and perhaps a rejected row."""

    count: int
    rejected: int = 0
    answer: str = "fine"
    licence: str = "MIT"

    def files(self):
        return [Path(__file__)]

    def read(self):
        for i in range(self.rejected):
            yield Reject(source=self.name, file="f.json", line=i + 1, reason="broken", row="{")
        for i in range(self.count):
            messages = (Message("user", f"{self.name} question {i}"), Message("assistant", f"{self.answer} {i}"))
            yield Conversation(messages=messages, record_id=f"{self.name}:{i}", source=self.name, language="en", licence="MIT")


def build(*sources, **changes):
    settings = {"global_size": 4, "micro_size": 2, "packing": "none", "max_length": 128, "held_out_fraction": 0.2, "seed": 0}
    module = InstructionDataModule({s.name: s for s in sources}, byte_tokenizer(), chatml(), **(settings | changes))
    module.setup()
    return module


def test_an_epoch_delivers_every_training_record_once():
    data = build(Fake(name="a", count=20))

    delivered = [r for step in data.train_dataloader() for batch in step for r in batch["record_ids"]]
    assert sorted(delivered) == sorted(data.train_records.record_ids)
    assert len(delivered) == 16 and len(data.held_out_records) == 4


def test_two_ranks_share_each_step_without_overlap():
    ranks = [build(Fake(name="a", count=20), world_size=2, rank=rank) for rank in (0, 1)]

    for shares in zip(*(r.train_dataloader() for r in ranks), strict=True):
        ids = [[r for batch in share for r in batch["record_ids"]] for share in shares]
        assert not set(ids[0]) & set(ids[1]) and len(ids[0] + ids[1]) == 4
        assert shares[0][0]["step_tokens"] == shares[1][0]["step_tokens"]


def test_validation_sees_every_held_out_record_once_on_however_many_ranks():
    ranks = [build(Fake(name="a", count=30), world_size=2, rank=rank) for rank in (0, 1)]
    loaders = [list(r.val_dataloader()) for r in ranks]

    seen = [r for loader in loaders for step in loader for batch in step for r in batch["record_ids"]]
    assert sorted(seen) == sorted(ranks[0].held_out_records.record_ids)
    assert len(loaders[0]) == len(loaders[1])


def test_weights_decide_how_often_a_source_is_seen():
    data = build(Fake(name="a", count=10, weight=3.0), Fake(name="b", count=10), held_out_fraction=0.0)

    counts = Counter(r.split(":")[0] for step in data.train_dataloader() for batch in step for r in batch["record_ids"])
    assert counts == {"a": 30, "b": 10}


def test_a_limit_draws_by_the_seed_and_not_the_first_rows():
    first, again, other = (build(Fake(name="a", count=50, limit=10), seed=s, held_out_fraction=0.0) for s in (0, 0, 1))

    assert first.train_records.record_ids == again.train_records.record_ids != other.train_records.record_ids
    assert first.train_records.record_ids != [f"a:{i}" for i in range(10)]


def test_rejects_drops_and_lineage_are_written(tmp_path):
    long = Fake(name="long", count=3, answer="x" * 10)
    build(Fake(name="a", count=10, rejected=2), long, folder=tmp_path, max_length=56, held_out_fraction=0.0)

    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(line["file"], line["line"], line["reason"]) for line in lines[:2]] == [("f.json", 1, "broken"), ("f.json", 2, "broken")]
    lineage = json.loads((tmp_path / "lineage.json").read_text())
    assert lineage["a"]["rejected"] == 2 and lineage["a"]["licence"] == "MIT" and lineage["a"]["train"] == 10
    assert len(lineage["a"]["files"][0]["sha256"]) == 64


def test_a_source_whose_rows_are_all_bad_is_an_error_that_shows_the_first():
    with pytest.raises(ConfigError, match=r"all 3 rows were rejected.*f.json, line 1: broken"):
        build(Fake(name="a", count=0, rejected=3))


def test_an_empty_source_is_an_error():
    with pytest.raises(ConfigError, match=r"holds no row; check data.a.path"):
        build(Fake(name="a", count=0))


def test_nothing_left_to_train_says_why():
    with pytest.raises(ConfigError, match=r"the prompt fills max_length=20.*Raise model.max_length"):
        build(Fake(name="a", count=5), max_length=20)


def test_a_held_out_set_of_everything_is_named_as_the_reason():
    with pytest.raises(ConfigError, match=r"held_out.most=100 hold out all 5 there are. Lower them."):
        build(Fake(name="a", count=5), held_out_fraction=None, held_out_most=100)


def test_why_nothing_is_held_out_is_told(caplog):
    build(Fake(name="a", count=3), held_out_fraction=0)
    assert "nothing is held out" not in caplog.text  # as was wanted

    build(Fake(name="a", count=3), held_out_fraction=0.1)
    assert "held_out.fraction=0.1 of 3 records is less than one. Set held_out.fraction=null held_out.most=N" in caplog.text

    build(Fake(name="a", count=20), held_out_fraction=0.1, held_out_near_duplicates=0.0001)
    assert "held_out asks for 2 records, and each group of records that share questions is larger" in caplog.text


def test_weights_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"leave none of 5 records in an epoch"):
        build(Fake(name="a", count=5, weight=0.01), held_out_fraction=0.0)


def test_without_held_out_records_there_is_no_validation():
    assert build(Fake(name="a", count=5), held_out_fraction=0.0).val_dataloader() == []


def test_packing_lowers_the_planned_padding():
    data = build(Fake(name="a", count=40), global_size=8)

    assert data.planned_padding("packed") < data.planned_padding("none")


def test_temperature_evens_sources_out():
    data = build(Fake(name="a", count=90), Fake(name="b", count=10), held_out_fraction=0.0, temperature=1e9)

    counts = Counter(r.split(":")[0] for step in data.train_dataloader() for batch in step for r in batch["record_ids"])
    assert counts == {"a": 50, "b": 50} and data.lineage()["b"]["weight"] == pytest.approx(5.0)


def test_conversations_stand_at_the_numbers_of_their_records():
    data = build(Fake(name="a", count=20), Fake(name="b", count=20, answer="x" * 200), max_length=64)
    for records, conversations in ((data.train_records, data.train_conversations), (data.held_out_records, data.held_out_conversations)):
        assert [c.record_id for c in conversations] == list(records.record_ids)


def test_cleaning_is_applied_and_counted():
    data = build(Fake(name="a", count=20), cleaning={"no_one": Without("1")}, held_out_fraction=0.0)
    assert len(data.train_records) == 9 and data.counts()["a"]["removed"] == 11 and {r.step for r in data.rejects} == {"no_one"}


def test_a_cache_makes_the_second_module_find_everything(tmp_path):
    first, again = (build(Fake(name="a", count=20), cache_dir=tmp_path) for _ in range(2))
    assert not first.prepared.found and again.prepared.found
    assert list(first.train_records.record_ids) == list(again.train_records.record_ids)


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(tmp_path):
    one, other = build(Fake(name="a", count=20), workers=1), build(Fake(name="a", count=20), workers=2, cache_dir=tmp_path)
    assert [one.plan.order(e).tolist() for e in (0, 1)] == [other.plan.order(e).tolist() for e in (0, 1)]
    assert one.plan.order(0).tolist() != one.plan.order(1).tolist()
