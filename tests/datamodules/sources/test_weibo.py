"""Comments scored by likes."""

import pytest

from datamodules.sources import Weibo
from tests.datamodules.sources.read_ranked import answers, prompt, ranked, rejected
from tests.datamodules.sources.read_source import kept, written

ROW = {
    "article": "新华社 北京 ，\n今天 下雪 。",
    "abstract": "北京 下雪",
    "comments": [["好 冷", 3], ["真的 好 冷 啊", 3], ["喜欢 雪", 12], ["", 50], ["路滑 小心", "7"]],
}


def weibo(tmp_path, *rows, **options):
    return Weibo(path=written(tmp_path, rows), **options)


def test_comments_are_sorted_by_likes_and_then_by_length(tmp_path):
    (record,) = ranked(weibo(tmp_path, ROW))

    assert prompt(record) == "新闻内容：新华社北京，今天下雪。\n摘要：北京下雪\n评论："
    assert answers(record) == [("喜欢雪", 12), ("路滑小心", 7), ("真的好冷啊", 3), ("好冷", 3)]


def test_system_rs_prompt_is_an_option_and_spaces_can_stay(tmp_path):
    (record,) = ranked(weibo(tmp_path, ROW, separator="<sep>", remove_spaces=False))

    assert prompt(record) == "新闻内容：新华社 北京 ，今天 下雪 。<sep>摘要：北京 下雪<sep>评论："
    assert answers(record)[0] == ("喜欢 雪", 12)


def test_fine_tuning_takes_the_most_liked_comment(tmp_path):
    (record,) = kept(list(weibo(tmp_path, ROW).read()))
    assert record.reference() == "喜欢雪"


def test_comments_that_are_none_are_left_out(tmp_path):
    odd = [["no likes"], "text", None, [3, 4], ["nan", "nan"], ["x", None], [" ", 3], ["好", 1]]
    (record,) = ranked(weibo(tmp_path, ROW | {"comments": odd}))
    assert answers(record) == [("好", 1)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"comments": []}, "no comment"),
        ({"comments": "好"}, "must be a list"),
        ({"comments": None}, "must be a list"),
        ({"article": " "}, "'article' is missing"),
        ({"abstract": 5}, "'abstract' is missing"),
    ],
)
def test_a_row_of_another_kind_is_rejected(tmp_path, change, reason):
    ((line, why),) = rejected(weibo(tmp_path, ROW | change))
    assert line == 1 and reason in why
