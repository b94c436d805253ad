"""Classical and modern Chinese, either way."""

import pytest

from datamodules.sources import ClassicalModern
from kinnari.errors import ConfigError
from tests.datamodules.sources.read_ranked import answers, prompt, put, ranked, rejected
from tests.datamodules.sources.read_source import kept


def bitext(*pairs):
    return "".join(f"古文：{a}\n现代文：{b}\n\n" for a, b in pairs)


SHIJI = bitext(("卒。", "后来去世。"), ("荣乃止。", "尔朱荣停下了。"), ("弗许。", "朝廷不答应。"))
SHIJI_2 = bitext(("其年薨。", "那一年去世。"))
ZHOUSHU = bitext(("上有疾。", "武帝生病。"), ("乃命焚之。", "下令烧毁。"), ("胜然其言。", "贺拔胜认为对。"))
TODAY = {
    "双语数据/史记/本纪/五帝/bitext.txt": SHIJI,
    "双语数据/史记/世家/bitext.txt": SHIJI_2,
    "双语数据/史记/世家/source.txt": "其年薨。\n",
    "双语数据/周书/卷一/bitext.txt": ZHOUSHU,
    "README.md": "# Classical-Modern\n",
}
BEFORE = {"bitext/史记": SHIJI + SHIJI_2, "bitext/周书": ZHOUSHU, "source/史记": "卒。\n", "target/史记翻译": "后来去世。\n"}
BOOK = dict.fromkeys(("卒。", "荣乃止。", "弗许。", "其年薨。", "后来去世。", "尔朱荣停下了。", "朝廷不答应。", "那一年去世。"), "史记")
MODERN = ("后来去世。", "尔朱荣停下了。", "朝廷不答应。", "那一年去世。", "武帝生病。", "下令烧毁。", "贺拔胜认为对。")


def source(tmp_path, files=None, **options):
    return ClassicalModern(path=put(tmp_path, files or TODAY), **options)


@pytest.mark.parametrize("files", [TODAY, BEFORE])
def test_both_layouts_of_the_repository_are_read(tmp_path, files):
    records = ranked(source(tmp_path, files, directions="to_modern"))

    assert sorted(answers(r)[0][0] for r in records) == sorted(MODERN)
    assert all(r.record_id.startswith("classical_modern:") and (r.language, r.licence) == ("zh", "MIT") for r in records)


def test_the_prompt_holds_the_text_and_names_both_languages(tmp_path):
    # System R's later version kept only the name of the language to translate into.
    to_modern = {prompt(r): answers(r)[0][0] for r in ranked(source(tmp_path, directions="to_modern"))}
    to_classical = {prompt(r): answers(r)[0][0] for r in ranked(source(tmp_path, directions="to_classical"))}

    assert to_modern["古文：卒。\n现代文："] == "后来去世。"
    assert to_classical["现代文：后来去世。\n古文："] == "卒。"
    assert prompt(ranked(source(tmp_path, directions="to_modern", separator="<sep>"))[0]).count("<sep>现代文：") == 1


@pytest.mark.parametrize("files", [TODAY, BEFORE])
def test_worse_answers_are_in_the_language_asked_for_from_the_book_and_from_other_books(tmp_path, files):
    for record in ranked(source(tmp_path, files)):
        (true, one), *others = answers(record)
        assert one == 1 and [s for _, s in others] == [0, 0, -1, -1]
        assert len({true, *(t for t, _ in others)}) == 5
        assert {t in MODERN for t, _ in others} == {true in MODERN}
        assert all((BOOK.get(t) == BOOK.get(true)) == (s == 0) for t, s in others)


def test_the_direction_is_drawn_for_each_sentence_and_does_not_depend_on_its_place(tmp_path):
    forward = ranked(source(tmp_path / "a"))
    backward = ranked(source(tmp_path / "b", {"双语数据/史记/x/bitext.txt": SHIJI_2 + SHIJI, "双语数据/周书/y/bitext.txt": ZHOUSHU}))

    directions = {prompt(r)[:2] for seed in range(4) for r in ranked(source(tmp_path / "a", seed=seed))}
    assert directions == {"古文", "现代"}
    assert {prompt(r): answers(r) for r in forward} == {prompt(r): answers(r) for r in backward}


def test_a_folder_inside_the_repository_and_a_single_file_are_enough(tmp_path):
    root = put(tmp_path, TODAY)

    assert len(ranked(ClassicalModern(path=f"{root}/双语数据"))) == 7
    book = ranked(ClassicalModern(path=f"{root}/双语数据/史记"))
    assert len(book) == 4 and all(s >= 0 for r in book for _, s in answers(r))  # one book: nothing of another to draw from
    assert len(ranked(ClassicalModern(path=f"{root}/双语数据/史记/世家/bitext.txt"))) == 1


def test_folders_of_books_under_another_name_are_told_apart(tmp_path):
    moved = {name.replace("双语数据/", "data/"): text for name, text in TODAY.items()}
    records = ranked(ClassicalModern(path=put(tmp_path, moved) + "/data", directions="to_modern"))
    assert all((BOOK.get(t) == BOOK.get(answers(r)[0][0])) == (s >= 0) for r in records for t, s in answers(r))


def test_lines_without_a_counterpart_are_rejected_and_the_rest_goes_on(tmp_path):
    text = "古文：甲\n古文：乙\n现代文：二\n\n现代文：三\n说明\n古文：\n现代文：四\n古文:丁\r\n现代文:五\r\n古文：戊\n"
    broken = source(tmp_path, {"bitext.txt": text + "\udcff坏\n"}, directions="to_modern")

    assert [r.reference() for r in kept(list(broken.read()))] == ["二", "五"]
    assert [line for line, _ in rejected(broken)] == [1, 5, 6, 7, 12, 11]
    assert "UTF-8" in rejected(broken)[4][1]


def test_an_unknown_direction_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="to_modern or to_classical"):
        ClassicalModern(path="x", directions="sideways")
    with pytest.raises(ConfigError, match=r"neither bitext\.txt files nor a folder bitext"):
        ClassicalModern(path=str(tmp_path)).files()
