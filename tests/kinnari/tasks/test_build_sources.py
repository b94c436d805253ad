"""Sources of a configuration: their names, and more than one of a class."""

import pytest

from kinnari.errors import ConfigError
from kinnari.tasks import build
from kinnari.tasks.compose import compose
from kinnari.tasks.rules import check

MORE = "+data.more={_target_: datamodules.sources.GenericFile, path: b.csv, weight: 2}"


def test_a_source_has_the_name_it_has_in_the_configuration():
    cfg = compose(["data=file", "data.file.path=[a.csv,folder]", MORE])
    check(cfg)

    sources = build.sources(cfg)
    assert {key: (s.name, s.path, s.weight) for key, s in sources.items()} == {
        "file": ("file", ["a.csv", "folder"], 1.0),
        "more": ("more", "b.csv", 2),
    }


def test_a_name_of_its_own_is_kept():
    cfg = compose(["data=file", "data.file.path=a.csv", "+data.file.name=mine"])

    assert build.sources(cfg)["file"].name == "mine"


def test_a_source_without_settings_of_its_own_takes_those_of_its_class():
    cfg = compose(["data=file", "data.file.path=a.csv", "+data.more={_target_: datamodules.sources.Alpaca, path: b.json}"])
    check(cfg)

    assert build.sources(cfg)["more"].limit is None


def test_a_class_that_is_no_source_is_named():
    cfg = compose(["+data.more={_target_: builtins.dict}"])

    with pytest.raises(ConfigError, match=r"data\.more\._target_=builtins\.dict makes no source, but a dict"):
        build.sources(cfg)
