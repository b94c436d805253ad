"""Files in the public layout of TNEWS and IFLYTEK whose texts are made up here: headlines of about 20 characters, descriptions of apps
of about 200, drawn from a seed. The classes and their words are those of the benchmarks, so the labels are as long as theirs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from kinnari.evaluation.benchmarks.iflytek_labels import IFLYTEK_WORDS
from kinnari.evaluation.benchmarks.topics import TNEWS_WORDS

SHOT_ROWS = 60  # rows of train.json, of which a few become shots

WHO = {
    "100": "山村老木匠 渡口的姐妹俩 守灯塔的人 失散多年的邻居",
    "101": "古镇戏台 博物馆新展 年轻书法家 百年老茶馆",
    "102": "新剧主演 音乐节压轴乐队 综艺新人 老牌歌手",
    "103": "主场球队 青年游泳队 马拉松选手 女排主教练",
    "104": "地方银行 小微企业 外贸工厂 连锁超市",
    "106": "新区楼盘 老小区业主 二手房中介 公寓租客",
    "107": "新款电动车 家用越野车 国产变速箱 充电站",
    "108": "乡村小学 高三班主任 职业学院 毕业生",
    "109": "国产芯片 折叠屏手机 开源操作系统 送货机器人",
    "110": "海上演习 新型护卫舰 边防哨所 空军飞行员",
    "112": "高原湖泊 海岛民宿 古城夜市 自驾车队",
    "113": "欧洲小国 联合国代表 邻国总理 南美农场主",
    "114": "三只白马股 创业板指数 北向资金 次新股",
    "115": "返乡果农 水稻新品种 养蜂合作社 大棚番茄",
    "116": "独立游戏团队 新赛季战队 老玩家 手游新版本",
}
WHAT = [
    "今天迎来大变化",
    "一夜之间走红",
    "三年后再次成为焦点",
    "遇到意外难题",
    "公布最新计划",
    "给出不一样的答案",
    "连续两周创下纪录",
    "引来众人围观",
]
TAIL = [
    "背后的原因值得一看",
    "网友这样评价",
    "专家提醒注意三点",
    "你怎么看",
    "还有哪些没想到",
    "细节终于说清",
    "接下来怎么办",
    "很多人都猜错了",
]

NAMES = ["小青", "阿木", "蓝鲸", "半夏", "云雀", "一叶", "石榴", "白桥", "星河", "麦田", "南风", "竹影"]
TASKS = ["随身助手", "宝典", "大师", "通", "管家", "专家"]
SENTENCES = (
    "界面简洁大方，第一次打开也能很快找到想要的功能，不需要注册就可以先试用。",
    "内容每天更新，编辑团队会挑选最实用的部分放在首页，方便忙碌的人利用零碎时间浏览。",
    "支持离线保存，没有网络的时候也能继续查看，节省流量又省电。",
    "新版本优化了搜索速度，输入两三个字就会给出相关建议，还能按照时间和距离排序。",
    "你可以把喜欢的条目加入收藏，并在多台设备之间同步，换手机也不会丢失。",
    "遇到问题可以随时联系在线客服，工作日一般半小时内就有人回复。",
    "我们重视隐私，所有记录只保存在本机，除非你主动选择备份到云端。",
    "内置多种主题和夜间模式，字号可以自由调节，老人和孩子使用起来都很轻松。",
    "每周还有小活动，完成简单任务就能领取积分，用来兑换会员或者小礼品。",
    "提供详细的图文说明和短视频示范，跟着步骤一步一步做就不会出错。",
    "已经有数十万用户在使用，评分稳定，许多建议都在后来的版本里得到采纳。",
    "可以和朋友分享结果，也可以只对自己可见，所有提醒都能单独关闭。",
)  # fmt: skip
DESCRIBED = 200  # characters, after which no sentence is added


def write_data(folder: Path, questions: int, seed: int) -> None:
    """tnews/dev.json, tnews/train.json and iflytek/dev.json, one json object a line.

    Args:
        folder: made where it is missing.
        questions: rows of each dev.json.
        seed: of all draws.
    """
    draw = random.Random(seed)
    headlines = _distinct(questions + SHOT_ROWS, lambda: _headline(draw))
    _write(folder / "tnews" / "dev.json", headlines[:questions])
    _write(folder / "tnews" / "train.json", headlines[questions:])
    _write(folder / "iflytek" / "dev.json", _distinct(questions, lambda: _description(draw)))


def _headline(draw: random.Random) -> dict[str, str]:
    label = draw.choice(sorted(TNEWS_WORDS))
    return {"label": label, "sentence": f"{draw.choice(WHO[label].split())}{draw.choice(WHAT)}，{draw.choice(TAIL)}"}


def _description(draw: random.Random) -> dict[str, str]:
    label = draw.choice(sorted(IFLYTEK_WORDS))
    text = f"{draw.choice(NAMES)}{IFLYTEK_WORDS[label]}{draw.choice(TASKS)}是一款为日常生活设计的手机软件。"
    for sentence in draw.sample(SENTENCES, len(SENTENCES)):
        text += sentence if len(text) < DESCRIBED else ""
    return {"label": label, "label_des": IFLYTEK_WORDS[label], "sentence": text}


def _distinct(number: int, make: Callable[[], dict[str, str]]) -> list[dict[str, str]]:
    """Rows with a text each of its own: equal ones would be scored once."""
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < number:
        row = make()
        rows.setdefault(row["sentence"], row)
    return list(rows.values())


def _write(file: Path, rows: list[dict[str, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
