"""Threads of a forum with their comments."""

import json

import pytest

from datamodules.sources import Pantip
from datamodules.sources.pantip import QUESTION_WORDS, scrubbed
from tests.datamodules.sources.read_ranked import answers, prompt, put
from tests.datamodules.sources.read_source import reasons, written

ZERO = dict.fromkeys(("like_score", "feel_heart", "feel_laugh", "feel_love", "feel_sad", "feel_horror", "feel_wow"), 0)


def thread(content_id, title, content="", total_field=9):
    return {"content_id": content_id, "title": title, "content": content, "total_field": total_field, "tags": "คอนโด", **ZERO}


def comment(content_id, comment_id, text, order="1", **counters):
    return {"content_id": content_id, "comment_id": comment_id, "order_comment": order, "comment": text, **ZERO, **counters}


def both(tmp_path, *rows, **options):
    items = list(Pantip(path=written(tmp_path, rows), **options).read_ranked())
    return [i for i in items if not reasons([i])], reasons(items)


def test_comments_are_joined_to_their_thread_and_ranked_by_all_seven_counters(tmp_path):
    found, rejects = both(
        tmp_path,
        comment(2, 1, "ก่อนกระทู้", like_score=1),
        thread(1, "ซื้อคอนโดดีไหม", "อายุ 30"),
        thread("2", "กินอะไรดี"),
        comment(1, 1, "ดี", like_score=2, feel_wow=1),
        comment(1, 2, "ไม่ดี", feel_heart=1, feel_laugh=1, feel_love=1, feel_sad=1, feel_horror=1, feel_wow=1, like_score=1),
        comment(1.0, 3, "แล้วแต่คน", feel_love="3"),
    )

    condo, food = found
    assert prompt(condo) == "ซื้อคอนโดดีไหม\nอายุ 30" and prompt(food) == "กินอะไรดี"
    assert answers(condo) == [("ไม่ดี", 7), ("แล้วแต่คน", 3), ("ดี", 3)]  # equal ones by length
    assert answers(food) == [("ก่อนกระทู้", 1)]
    assert (condo.record_id, condo.language) == ("pantip:1", "th") and rejects == []


def test_the_five_comments_with_most_interactions_are_kept(tmp_path):
    rows = [thread(1, "ทำไม"), *(comment(1, i, f"ความเห็น {i}", like_score=i) for i in range(8))]

    assert [s for _, s in answers(both(tmp_path, *rows)[0][0])] == [7, 6, 5, 4, 3]
    assert len(answers(both(tmp_path, *rows, most_comments=2)[0][0])) == 2


def test_answers_to_comments_are_not_answers_to_the_thread(tmp_path):
    found, rejects = both(tmp_path, thread(1, "ทำไม"), comment(1, 1, "เพราะ", "1"), comment(1, 2, "ไม่จริง", "1-1", like_score=90))

    assert answers(found[0]) == [("เพราะ", 0)]
    assert rejects == ["an answer to a comment, not to the thread"]


def test_the_newest_copy_of_a_thread_and_of_a_comment_counts(tmp_path):
    found, rejects = both(
        tmp_path,
        thread(1, "ทำไม", "ใหม่", total_field=5), thread(1, "ทำไม", "เก่า", total_field=3),
        comment(1, 1, "เพราะ", like_score=1), comment(1, 1, "เพราะว่า", like_score=4), comment(1, 1, "เพราะ", like_score=2),
    )  # fmt: skip

    assert [prompt(r) for r in found] == ["ทำไม\nใหม่"]
    assert answers(found[0]) == [("เพราะว่า", 4)]
    assert rejects == []


def test_a_title_must_ask_something(tmp_path):
    rows = [thread(1, "ขายคอนโด"), comment(1, 1, "สนใจ")]

    assert len(QUESTION_WORDS) == 15
    assert both(tmp_path, *rows)[1] == [
        "the title asks nothing: it holds none of the question words",
        "1 comments on thread 1, which is not there or asks nothing",
    ]
    assert len(both(tmp_path, *rows, question_words=[])[0]) == 1


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("ดีครับแก้ไขข้อความเมื่อ 3 มกราคม เวลา 12:00 น.", "ดีครับ"),
        ("ดู https://pantip.com/topic/1?x=%E0 ครับ", "ดู [URL] ครับ"),
        ("ดูwww.example.comดีมาก", "ดู[URL]ดีมาก"),
        ("[Spoil] คลิกเพื่อดูข้อความที่ซ่อนไว้พระเอกตาย", "พระเอกตาย"),
        (" แก้ไขข้อความเมื่อ", ""),
    ],
)
def test_what_the_forum_adds_is_taken_off(text, clean):
    assert scrubbed(text) == clean


def test_titles_bodies_and_comments_are_all_scrubbed(tmp_path):
    found, _ = both(
        tmp_path, thread(1, "เว็บ http://a.b คืออะไร", "ดู http://c.d แก้ไขข้อความเมื่อ 1"), comment(1, 1, "http://e.f ไง", like_score=1)
    )
    assert prompt(found[0]) == "เว็บ [URL] คืออะไร\nดู [URL]" and answers(found[0]) == [("[URL] ไง", 1)]


def test_threads_without_comments_and_odd_rows_are_rejected(tmp_path):
    found, rejects = both(
        tmp_path, [1], {"title": "ทำไม"}, thread(3, ["ทำไม"]), comment(1, 1, "แก้ไขข้อความเมื่อ"), comment(1, 1, None), thread(4, "ทำไม"),
        thread(5, "ทำไม"), comment(5, 1, "เพราะ", like_score=[3], feel_sad="x", order=None) | {"comment_id": None},
    )  # fmt: skip

    assert [r.record_id for r in found] == ["pantip:5"] and answers(found[0]) == [("เพราะ", 0)]
    assert len(rejects) == 6 and rejects[-1] == "no comment on this thread"


def test_a_folder_of_files_is_one_forum(tmp_path):
    rows = [thread(1, "ทำไม"), comment(1, 1, "เพราะ")]
    folder = put(tmp_path, {f"{i}.jsonl": json.dumps(row, ensure_ascii=False) for i, row in enumerate(rows)})
    (record,) = Pantip(path=folder).read_ranked()
    assert answers(record) == [("เพราะ", 0)]
