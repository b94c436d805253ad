"""The card says what there is, in Markdown that holds together whatever the names are."""

import json
import xml.etree.ElementTree as xml

from kinnari.preparation.card import data_card, to_markdown
from kinnari.preparation.histogram import histogram_svg
from kinnari.preparation.splitting import HeldOut
from tests.kinnari.preparation.fakes import Fake, Without, encoding, run


def card_of(*sources, **changes):
    steps = {"no_four": Without("4")}
    return data_card(run(*sources, steps=steps, **changes), encoding(), HeldOut(), steps, {"a": 2.0})


def test_the_card_is_plain_json_and_says_the_same_every_time():
    card = card_of(Fake(count=12, bad=6))
    assert json.loads(json.dumps(card)) == card == card_of(Fake(count=12, bad=6), workers=2)
    assert (card["rows_read"], card["rows_kept"], card["rows_rejected"]) == (12, 9, {"read": 2, "no_four": 1, "tokenise": 0})
    assert card["sources"]["a"]["weight"] == 2.0 and len(card["settings"]["tokenizer"]["sha256"]) == 64
    assert card["settings"]["template"]["name"] == "chatml" and card["settings"]["cleaning"]["no_four"]["step"] == "Without"


def test_markdown_has_every_section_and_whole_tables():
    text = to_markdown(card_of(Fake(count=12, bad=6, licence="CC | BY")))
    for words in ("# Data card", "## Sources", "## Left out", "## Languages", "## Token lengths", "## Settings", "| a | CC \\| BY | 12 |"):
        assert words in text
    for block in text.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_the_picture_is_xml_with_a_bar_for_each_bin():
    picture = histogram_svg([(1, 2, 5), (2, 4, 0), (4, 8, 10)], "Lengths <of> records", "tokens")
    root = xml.fromstring(picture)
    bars = [e for e in root.iter() if e.tag.endswith("rect") and e.get("fill") != "white"]
    heights = [float(str(bar.get("height"))) for bar in bars]
    assert len(bars) == 3 and heights[1] == 0 and abs(heights[2] - 2 * heights[0]) < 0.2
    assert "4 to 7 tokens: 10" in picture
    xml.fromstring(histogram_svg([], "Nothing", "tokens"))
