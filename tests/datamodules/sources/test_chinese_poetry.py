"""Poems by author, genre and title, from both layouts of the repository."""

import json
import sys

import pytest

from datamodules.sources import ChinesePoetry
from kinnari.errors import ConfigError
from tests.datamodules.sources.read_ranked import answers, prompt, put, ranked, rejected
from tests.datamodules.sources.read_source import kept

TANG = [
    {"author": "李白", "title": "靜夜思", "paragraphs": ["牀前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"], "id": "1"},
    {"author": "李白", "title": "早發", "paragraphs": ["朝辭白帝彩雲間，千里江陵一日還。"]},
    {"author": "李白", "title": "獨坐", "paragraphs": ["衆鳥高飛盡，孤雲獨去閒。"]},
    {"author": "王維", "title": "相思", "paragraphs": ["紅豆生南國，春來發幾枝。"]},
]
FILES = {
    "lunyu": [{"chapter": "学而篇", "paragraphs": ["子曰：学而时习之。", "有子曰：孝弟。"]}],
    "daxue": {"chapter": "大学", "paragraphs": ["大学之道，在明明德。"]},
    "mengzi": [{"chapter": "梁惠王上", "paragraphs": ["孟子见梁惠王。"]}],
    "zhongyong": {"chapter": "中庸", "paragraphs": ["天命之谓性。"]},
    "caocao": [{"title": "观沧海", "paragraphs": ["东临碣石，以观沧海。", "水何澹澹，山岛竦峙。"]}],
    "shijing": [{"title": "关雎", "chapter": "国风", "section": "周南", "content": ["关关雎鸠，在河之洲。"]}],
    "chuci": [{"title": "离骚", "section": "离骚", "author": "屈原", "content": ["帝高阳之苗裔兮，朕皇考曰伯庸。"]}],
    "tang": TANG,
    "ci": [{"author": "蘇軾", "rhythmic": "水調歌頭", "paragraphs": ["明月幾時有，把酒問青天。"]}],
    "nalan": [{"title": "长相思", "author": "纳兰性德", "para": ["山一程，水一程。"]}],
    "huajianji": [{"title": "菩薩蠻", "author": "溫庭筠", "rhythmic": "菩薩蠻", "paragraphs": ["小山重疊金明滅。"], "notes": []}],
    "nantang": [{"title": "虞美人", "author": "李煜", "rhythmic": "虞美人", "paragraphs": ["春花秋月何時了。"]}],
    "yuanqu": [{"dynasty": "yuan", "author": "马致远", "title": "天净沙", "paragraphs": ["枯藤老树昏鸦。"]}],
}
TODAY = {
    "lunyu": "论语/lunyu.json", "daxue": "四书五经/daxue.json", "mengzi": "四书五经/mengzi.json", "zhongyong": "四书五经/zhongyong.json",
    "caocao": "曹操诗集/caocao.json", "shijing": "诗经/shijing.json", "chuci": "楚辞/chuci.json", "tang": "全唐诗/poet.tang.0.json",
    "ci": "宋词/ci.song.0.json", "nalan": "纳兰性德/纳兰性德诗集.json", "huajianji": "五代诗词/huajianji/huajianji-1-juan.json",
    "nantang": "五代诗词/nantang/poetrys.json", "yuanqu": "元曲/yuanqu.json",
}  # fmt: skip
BEFORE = TODAY | {
    "lunyu": "lunyu/lunyu.json", "daxue": "sishuwujing/daxue.json", "mengzi": "sishuwujing/mengzi.json",
    "zhongyong": "sishuwujing/zhongyong.json", "caocao": "caocaoshiji/caocao.json", "shijing": "shijing/shijing.json",
    "chuci": "chuci/chuci.json", "tang": "json/poet.tang.0.json", "ci": "ci/ci.song.0.json", "nalan": "nalanxingde/纳兰性德诗集.json",
    "huajianji": "wudai/huajianji/huajianji-x-juan.json", "nantang": "wudai/nantang/poetrys.json", "yuanqu": "yuanqu/yuanqu.json",
}  # fmt: skip
OTHERS = {
    "全唐诗/authors.tang.json": [{"name": "李白", "desc": "..."}],
    "json/cn.poet.tang.0.json": TANG,
    "strains/json/poet.tang.0.json": [{"strains": ["平平仄仄平"], "id": "1"}],
    "rank/poet/poet.tang.0.json": [{"baidu": 3}],
    "五代诗词/huajianji/huajianji-0-preface.json": [{"title": "序"}],
    "五代诗词/huajianji/huajianji-1-juan.simplified.json": FILES["huajianji"],
    "蒙学/sanzijing.json": {"title": "三字经", "paragraphs": ["人之初"]},
}


def copy(tmp_path, names=TODAY, **changes):
    files = {names[key]: content for key, content in (FILES | changes).items()}
    return put(tmp_path, {name: json.dumps(content, ensure_ascii=False, indent=1) for name, content in (files | OTHERS).items()})


@pytest.mark.parametrize("names", [TODAY, BEFORE])
def test_every_family_of_files_is_read_in_both_layouts(tmp_path, names):
    questions = {prompt(r): answers(r)[0][0] for r in ranked(ChinesePoetry(path=copy(tmp_path, names)))}

    assert questions == {
        "以孔子的风格，写一篇经书，题为学而篇": "子曰：学而时习之。有子曰：孝弟。",
        "以曾子的风格，写一篇经书，题为大学": "大学之道，在明明德。",
        "以孟子的风格，写一篇经书，题为梁惠王上": "孟子见梁惠王。",
        "以孔伋的风格，写一篇经书，题为中庸": "天命之谓性。",
        "以曹操的风格，写一首古体诗，题为观沧海": "东临碣石，以观沧海。水何澹澹，山岛竦峙。",
        "以诗经的风格，写一首古体诗，题为国风·周南·关雎": "关关雎鸠，在河之洲。",
        "以屈原的风格，写一篇楚辞，题为离骚": "帝高阳之苗裔兮，朕皇考曰伯庸。",
        "以李白的风格，写一首五言诗，题为静夜思": "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
        "以李白的风格，写一首七言诗，题为早发": "朝辞白帝彩云间，千里江陵一日还。",
        "以李白的风格，写一首五言诗，题为独坐": "众鸟高飞尽，孤云独去闲。",
        "以王维的风格，写一首五言诗，题为相思": "红豆生南国，春来发几枝。",
        "以苏轼的风格，写一首词，题为水调歌头": "明月几时有，把酒问青天。",
        "以纳兰性德的风格，写一首词，题为长相思": "山一程，水一程。",
        "以温庭筠的风格，写一首词，题为菩萨蛮": "小山重叠金明灭。",
        "以李煜的风格，写一首词，题为虞美人": "春花秋月何时了。",
        "以马致远的风格，写一首曲，题为天净沙": "枯藤老树昏鸦。",
    }


def test_another_poem_of_the_author_scores_0_another_authors_minus_1_another_genre_minus_2(tmp_path):
    records = {prompt(r): answers(r) for r in ranked(ChinesePoetry(path=copy(tmp_path)))}

    night = records["以李白的风格，写一首五言诗，题为静夜思"]
    assert night[:3] == [(night[0][0], 1), ("众鸟高飞尽，孤云独去闲。", 0), ("红豆生南国，春来发几枝。", -1)]
    assert night[3][1] == -2 and len(night) == 4
    # One poem of seven: none of the author's, none of the genre's.
    assert [s for _, s in records["以李白的风格，写一首七言诗，题为早发"]] == [1, -2]
    assert [s for _, s in records["以曹操的风格，写一首古体诗，题为观沧海"]] == [1, -1, -2]
    assert all(len({t for t, _ in found}) == len(found) for found in records.values())


def test_what_is_drawn_does_not_depend_on_the_place_of_a_poem(tmp_path):
    one = {prompt(r): answers(r) for r in ranked(ChinesePoetry(path=copy(tmp_path / "a")))}
    two = {prompt(r): answers(r) for r in ranked(ChinesePoetry(path=copy(tmp_path / "b", tang=TANG[::-1])))}
    assert one == two
    assert one != {prompt(r): answers(r) for r in ranked(ChinesePoetry(path=copy(tmp_path / "a"), seed=1))}


def test_genres_can_be_chosen_and_worse_answers_are_of_these_genres(tmp_path):
    records = ranked(ChinesePoetry(path=copy(tmp_path), genres=["五言诗", "七言诗"]))

    assert len(records) == 4
    assert {answers(r)[-1] for r in records if "五言" in prompt(r)} == {("朝辞白帝彩云间，千里江陵一日还。", -2.0)}


def test_traditional_characters_can_stay_and_then_opencc_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opencc", None)
    path = copy(tmp_path)

    assert "以李白的风格，写一首五言诗，题为靜夜思" in {prompt(r) for r in ranked(ChinesePoetry(path=path, simplify=False))}
    with pytest.raises(ConfigError, match=r"pip install 'kinnari\[zh\]'.*simplify=false"):
        ranked(ChinesePoetry(path=path))


def test_system_rs_prompt_ends_with_its_separator(tmp_path):
    assert prompt(ranked(ChinesePoetry(path=copy(tmp_path), separator="<sep>"))[0]).endswith("<sep>")


def test_a_simplified_copy_is_read_where_the_file_itself_is_not(tmp_path):
    files = {"huajianji-9-juan.simplified.json": json.dumps(FILES["huajianji"])}
    assert len(ranked(ChinesePoetry(path=put(tmp_path, files)))) == 1


def test_rows_that_are_no_poems_are_rejected_and_the_rest_goes_on(tmp_path):
    bad = [3, {}, {"author": "a", "title": "t", "paragraphs": []}, {"author": "a", "title": "t", "paragraphs": [3]},
           {"author": "a", "title": "t", "paragraphs": ["\n "]}, {"title": "t", "paragraphs": ["x"]}, {"author": "a", "paragraphs": ["x"]},
           TANG[0]]  # fmt: skip
    source = ChinesePoetry(path=put(tmp_path, {"poet.tang.0.json": json.dumps(bad)}))

    found = [why for _, why in rejected(source)]

    assert len(found) == 7
    assert list(found[-3:]) == [f"the {what} missing or empty" for what in ("lines are", "author is", "title is")]
    assert len(kept(list(source.read()))) == 1


def test_a_folder_without_poems_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no file of poems"):
        list(ChinesePoetry(path=str(tmp_path)).read())
