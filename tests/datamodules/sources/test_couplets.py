"""Couplets with worse second lines."""

import pytest

from datamodules.sources import Couplets
from tests.datamodules.sources.read_ranked import answers, prompt, put, ranked, rejected
from tests.datamodules.sources.read_source import kept

LINES = [
    "春风送暖 旭日临门",
    "风调雨顺 国泰民安",
    "天增岁月 人增寿",
    "一帆风顺年年好 万事如意步步高",
    "四海 五湖",
    "千山\t万水",
    "松风 竹雨",
    "五福临门 三阳开泰",
]
LINES[2] = "天增岁月人增寿 春满乾坤福满门"


def couplets(tmp_path, lines=LINES, **options):
    put(tmp_path, {"couplets.txt": "\n".join(lines) + "\n"})
    return Couplets(path=str(tmp_path / "couplets.txt"), **options)


def test_the_upper_line_asks_for_the_lower_one(tmp_path):
    records = ranked(couplets(tmp_path))

    assert [prompt(r) for r in records][:2] == ["上联：春风送暖\n下联：", "上联：风调雨顺\n下联："]
    assert [answers(r)[0] for r in records][:2] == [("旭日临门", 1.0), ("国泰民安", 1.0)]
    assert answers(records[5])[0] == ("万水", 1.0)  # whatever character separates the halves
    assert records[3].record_id == "couplets:3" and records[3].language == "zh"


def test_two_others_of_the_same_length_score_0_and_two_of_another_length_minus_1(tmp_path):
    for record in ranked(couplets(tmp_path)):
        (true, one), *others = answers(record)
        same, other = [t for t, s in others if s == 0], [t for t, s in others if s == -1]
        assert one == 1 and len(other) == 2 and true not in same + other
        # There are three lower lines of four characters, two of seven, three of two.
        assert len(same) == {4: 2, 7: 1, 2: 2}[len(true)]
        assert all(len(t) == len(true) for t in same) and all(len(t) != len(true) for t in other)
        assert len(set(same + other)) == len(same + other)


def test_no_couplet_inherits_the_answers_of_the_one_before(tmp_path):
    # What went wrong in system R: the list of answers grew from couplet to couplet.
    records = ranked(couplets(tmp_path))
    assert all(len(r.answers) <= 5 for r in records)
    assert all([s for _, s in answers(r)].count(1.0) == 1 for r in records)


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_order_of_the_lines(tmp_path):
    def by_prompt(lines, seed):
        (tmp_path / str(seed)).mkdir(exist_ok=True)
        return {prompt(r): answers(r) for r in ranked(couplets(tmp_path / str(seed), lines, seed=seed))}

    assert by_prompt(LINES, 1) == by_prompt(LINES[::-1], 1) == by_prompt([*LINES, LINES[0]], 1)
    assert by_prompt(LINES, 1) != by_prompt(LINES, 2)


def test_system_rs_separator_is_an_option(tmp_path):
    assert prompt(ranked(couplets(tmp_path, separator="<sep>"))[0]) == "上联：春风送暖<sep>下联："


@pytest.mark.parametrize("line", ["四海五湖", "上联太长了 下联", "x", "春风 a bc"])
def test_a_line_without_two_equal_halves_is_rejected_with_its_number(tmp_path, line):
    source = couplets(tmp_path, ["四海 五湖", "", line, "千山 万水"])

    ((number, reason),) = rejected(source)

    assert number == 3 and "halves" in reason
    assert [r.record_id for r in kept(list(source.read()))] == ["couplets:0", "couplets:2"]
