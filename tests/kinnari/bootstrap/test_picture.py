"""The picture is well-formed and tells every number."""

from __future__ import annotations

from xml.etree import ElementTree

from kinnari.bootstrap.picture import summary_picture

KEPT = [{"instruction": "Name <five> rivers & lakes", "most_similar_instructions": {"a": 0.31, "b": 0.2}}] * 3
REJECTED = [{"reason": "similar"}] * 1200 + [{"reason": "<odd>"}]


def texts(picture):
    return [node.text for node in ElementTree.fromstring(picture).iter() if node.text and node.text.strip()]


def test_bars_are_labelled_with_their_numbers_and_reasons():
    shown = texts(summary_picture(KEPT, REJECTED))
    for name, number in (("kept", "3"), ("similar", "1,200"), ("<odd>", "1")):
        assert shown[shown.index(name) + 1] == number
    assert any("words in a kept instruction" in text for text in shown)


def test_the_longest_bar_and_columns_stay_inside():
    root = ElementTree.fromstring(summary_picture(KEPT, REJECTED))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    rectangles = [node.attrib for node in root.iter() if node.tag.endswith("rect") and "%" not in node.attrib["width"]]
    assert all(float(r["x"]) + float(r["width"]) <= width and float(r["y"]) + float(r["height"]) <= height for r in rectangles)


def test_nothing_kept_is_a_picture_too():
    assert "kept" in texts(summary_picture([], []))
