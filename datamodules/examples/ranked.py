"""Example rows of the sources of ranked answers: what is better is told as each of them tells it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from datamodules.examples.layout import Layout
from datamodules.examples.texts import CHINESE, ENGLISH, THAI, Fact

REACTIONS = {"feel_heart": 0, "feel_laugh": 0, "feel_love": 0, "feel_sad": 0, "feel_horror": 0, "feel_wow": 0}
QUESTION_WORD = "หรือ"  # one of those that the titles of threads are known by
CLASSICAL = ("学而时习之。", "温故而知新。", "见贤思齐焉。", "知者不惑。", "仁者不忧。", "勇者不惧。")
MODERN = ("学了以后时常温习。", "温习旧的，懂得新的。", "见到好人就向他看齐。", "聪明的人不迷惑。", "仁爱的人不忧愁。", "勇敢的人不害怕。")
COUPLETS = ("春风送暖 旭日临门", "风调雨顺 国泰民安", "五福临门 三阳开泰", "四海 五湖", "千山 万水", "日丽风和 花香鸟语", "青山 绿水",
            "人寿年丰 家和业兴", "明月 清风", "山高 水远")  # fmt: skip
POEMS = (
    ("李白", "静夜思", "床前明月光，疑是地上霜。"),
    ("李白", "独坐", "众鸟高飞尽，孤云独去闲。"),
    ("王维", "相思", "红豆生南国，春来发几枝。"),
    ("王维", "鹿柴", "空山不见人，但闻人语响。"),
    ("杜甫", "春望", "国破山河在，城春草木深。"),
    ("杜甫", "绝句", "江碧鸟逾白，山青花欲燃。"),
)
CI = {"author": "苏轼", "rhythmic": "水调歌头", "paragraphs": ["明月几时有？把酒问青天。"]}


def pantip(facts: Sequence[Fact]) -> list[dict[str, Any]]:
    """Threads, each with a comment that many liked and one that few did."""
    rows: list[dict[str, Any]] = []
    for i, fact in enumerate(facts):
        title = f"{fact.question}{QUESTION_WORD}"
        rows.append({"content_id": i, "title": title, "content": fact.statement, "total_field": 9, "like_score": 0, **REACTIONS})
        for order, (text, likes) in enumerate(((fact.answer, 9), (fact.worse, 1)), start=1):
            comment = {"content_id": i, "comment_id": 100 * i + order, "order_comment": str(order), "comment": text, "like_score": likes}
            rows.append({**comment, **REACTIONS})
    return rows


def bitext(pairs: Sequence[tuple[str, str]]) -> str:
    """A book of sentences in both languages."""
    return "".join(f"古文：{classical}\n现代文：{modern}\n\n" for classical, modern in pairs)


def dialogue(fact: Fact, answer: str) -> str:
    """HH-RLHF's form of one turn."""
    return f"\n\nHuman: {fact.question}\n\nAssistant: {answer}"


SENTENCES = list(zip(CLASSICAL, MODERN, strict=True))
VOTES = [
    {"message_id": f"v{i}", "คำสั่ง": f.question, "คำตอบของ A": f.answer, "คำตอบของ B": f.worse, "สรุปคำตอบ(1=A, 2=B, 3=เสมอ)": "1"}
    for i, f in enumerate(THAI)
]

LAYOUTS = {
    "AnswerVotes": Layout(".csv", VOTES),
    "Baike": Layout(
        rows=[{"qid": str(i), "category": "例", "title": f.question, "desc": "", "answer": f.answer} for i, f in enumerate(CHINESE)]
    ),
    "ChinesePoetry": Layout(
        files={
            "全唐诗/poet.tang.0.json": json.dumps([{"author": a, "title": t, "paragraphs": [p]} for a, t, p in POEMS], ensure_ascii=False),
            "宋词/ci.song.0.json": json.dumps([CI], ensure_ascii=False),
        }
    ),
    "ClassicalModern": Layout(
        files={"双语数据/论语/上/bitext.txt": bitext(SENTENCES[:3]), "双语数据/论语选/bitext.txt": bitext(SENTENCES[3:])}
    ),
    "Couplets": Layout(files={"couplets.txt": "\n".join(COUPLETS) + "\n"}),
    "HHRlhfPairs": Layout(rows=[{"chosen": dialogue(f, f.answer), "rejected": dialogue(f, f.worse)} for f in ENGLISH]),
    "Pantip": Layout(rows=pantip(THAI)),
    "PreferenceColumns": Layout(
        rows=[
            {"human_ref_1st": f"<human>: {f.question} <bot>: {f.answer}", "human_ref_2nd": f"<human>: {f.question} <bot>: {f.worse}"}
            for f in THAI
        ]
    ),
    "PreferencePairs": Layout(
        ".json",
        [{"prompt": f.question, "chosen": f.answer, "rejected": f.worse, "score_chosen": 8, "score_rejected": 2} for f in CHINESE],
    ),
    "ScoredAnswers": Layout(
        rows=[
            {
                "prompt": f.question,
                "prefix": "答：",
                "answers": [{"answer": f.answer, "score": 1}, {"answer": f.worse, "score": 0}],
                "data_type": "human_generated",
            }
            for f in CHINESE
        ]
    ),
    "Weibo": Layout(rows=[{"article": f.statement, "abstract": f.question, "comments": [[f.answer, 12], [f.worse, 3]]} for f in CHINESE]),
    "Zhidao": Layout(
        ".csv",
        [
            {"title": f.question, "question": "", "reply": reply, "is_best": best}
            for f in CHINESE
            for reply, best in ((f.answer, "1"), (f.worse, "0"))
        ],
    ),
}
