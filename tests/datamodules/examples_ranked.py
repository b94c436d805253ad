"""Valid rows of the sources of ranked answers in their real layouts: option -> {"suffix", "rows"}, or option -> {"files"}.

`suffix` is the kind of file the rows are written to (`read_source.written`); `files` is a folder, relative path -> text.
"""

from __future__ import annotations

import json
from typing import Any

FORUM = {"like_score": 1, "feel_heart": 0, "feel_laugh": 0, "feel_love": 2, "feel_sad": 0, "feel_horror": 0, "feel_wow": 0}
HH = "\n\nHuman: Who wrote Emma?\n\nAssistant:"
POEMS = [
    {"author": "李白", "title": "靜夜思", "paragraphs": ["牀前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"]},
    {"author": "李白", "title": "獨坐", "paragraphs": ["衆鳥高飛盡，孤雲獨去閒。"]},
    {"author": "王維", "title": "相思", "paragraphs": ["紅豆生南國，春來發幾枝。"]},
]
BITEXT = "古文：卒。\n现代文：后来去世。\n\n古文：弗许。\n现代文：朝廷不答应。\n\n"

EXAMPLES: dict[str, dict[str, Any]] = {
    "weibo": {
        "suffix": ".jsonl",
        "rows": [
            {"article": "新华社 北京 今天 下雪 。", "abstract": "北京 下雪", "comments": [["好 冷", 3], ["喜欢 雪", 12]]},
            {"article": "高铁 开通 。", "abstract": "高铁", "comments": [["好", 1], ["快", 1], ["贵", 0]]},
        ],
    },
    "couplets": {"files": {"couplets.txt": "春风送暖 旭日临门\n风调雨顺 国泰民安\n五福临门 三阳开泰\n四海 五湖\n千山 万水\n"}},
    "zhidao": {
        "suffix": ".csv",
        "rows": [
            {"title": "吃什么水果好", "question": "天气很热", "reply": "都行", "is_best": "0"},
            {"title": "吃什么水果好", "question": "天气很热", "reply": "西瓜", "is_best": "1"},
            {"title": "怎么学英语", "question": "", "reply": "多读", "is_best": "1"},
        ],
    },
    "classical_modern": {
        "files": {"双语数据/史记/本纪/bitext.txt": BITEXT, "双语数据/周书/bitext.txt": "古文：上有疾。\n现代文：武帝生病。\n\n"}
    },
    "chinese_poetry": {
        "files": {
            "全唐诗/poet.tang.0.json": json.dumps(POEMS, ensure_ascii=False),
            "四书五经/daxue.json": json.dumps({"chapter": "大学", "paragraphs": ["大学之道，在明明德。"]}, ensure_ascii=False),
            "宋词/ci.song.0.json": json.dumps(
                [{"author": "蘇軾", "rhythmic": "水調歌頭", "paragraphs": ["明月幾時有。"]}], ensure_ascii=False
            ),
        }
    },
    "baike": {"suffix": ".json", "rows": [{"qid": "1", "category": "动物", "title": "鲸是鱼吗", "desc": "", "answer": "是哺乳动物"}]},
    "pantip": {
        "suffix": ".jsonl",
        "rows": [
            {"content_id": 1, "title": "ซื้อคอนโดดีไหม", "content": "อายุ 30", "total_field": 9, **FORUM},
            {"content_id": 1, "comment_id": 7, "order_comment": "1", "comment": "ดีครับ", **FORUM},
            {"content_id": 1, "comment_id": 8, "order_comment": "2", "comment": "แล้วแต่คน", **FORUM, "like_score": 4},
        ],
    },
    "preference_columns": {
        "suffix": ".jsonl",
        "rows": [{"human_ref_1st": "<human>: ทำไม <bot>: เพราะ", "human_ref_2nd": "<human>: ทำไม <bot>: ไม่รู้"}],
    },
    "hh_rlhf_pairs": {"suffix": ".jsonl", "rows": [{"chosen": f"{HH} Jane Austen.", "rejected": f"{HH} No idea."}]},
    "scored_answers": {
        "suffix": ".jsonl",
        "rows": [
            {"prompt": "上联：春风", "prefix": "下联：", "answers": [{"answer": "秋雨", "score": 1}, {"answer": "明月高", "score": -1}]},
            {"prompt": "P", "system": "S", "data_type": "human_generated", "answers": [{"answer": "a", "score": 0.5}]},
        ],
    },
    "preference_pairs": {
        "suffix": ".json",
        "rows": [
            {
                "conversations": [{"from": "human", "value": "你好"}],
                "chosen": {"from": "gpt", "value": "您好！"},
                "rejected": {"from": "gpt", "value": "？"},
            },
            {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?", "score_chosen": 8, "score_rejected": 2},
        ],
    },
    "answer_votes": {
        "suffix": ".csv",
        "rows": [
            {"message_id": "8a51", "คำสั่ง": "ทำยังไงดี", "คำตอบของ A": "เอ", "คำตอบของ B": "บี", "สรุปคำตอบ(1=A, 2=B, 3=เสมอ)": "2"},
            {"message_id": "8a52", "คำสั่ง": "ที่ไหนดี", "คำตอบของ A": "เอ", "คำตอบของ B": "บี", "สรุปคำตอบ(1=A, 2=B, 3=เสมอ)": "3"},
        ],
    },
}
