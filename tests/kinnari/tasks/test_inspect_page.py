"""The page that task=inspect writes."""

from __future__ import annotations

from html.parser import HTMLParser

from kinnari.tasks.inspect_page import Figures, ShownRecord, page, visible
from kinnari.tasks.token_pieces import Piece


class Spans(HTMLParser):
    """(class, title, text) of every span inside a record."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside, self.found, self.open = False, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.inside = self.inside or values.get("class") == "record"
        if self.inside and tag == "span":
            self.open = (values["class"], values["title"])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "div"
        self.open = None

    def handle_data(self, data):
        if self.open:
            self.found.append((*self.open, data))


def shown(**changes) -> ShownRecord:
    pieces = [Piece("<s>", 1, special=True), Piece("<b>1</b>\n", 1), Piece("ส", 3), Piece("</s>", 1, special=True)]
    values = {"record_id": "alpaca:7", "facts": "th, 6 tokens", "cut": False, "pieces": pieces, "first_ids": [1, 40, 50, 2]}
    return ShownRecord(**(values | {"trained": [False, False, True, True], "eos_id": 2} | changes))


def test_every_piece_is_a_span_that_says_whether_it_is_trained():
    assert Spans(page("t", [shown()], [])).found == [
        ("s", "1", "<s>"),
        ("u odd", "40", "<b>1</b>↵\n"),
        ("t", "50 and 2 more", "ส"),
        ("t e odd", "2", "</s>"),
    ]


def test_text_of_the_data_cannot_become_markup():
    text = page("<title>", [shown(record_id="<script>", facts='"&')], [Figures("<f>", ("<c>",), [("<d>",)])])
    assert not [bad for bad in ("<script>", "<f>", "<c>", "<d>", "<b>1") if bad in text]
    assert "&lt;script&gt;" in text


def test_a_cut_record_says_so():
    assert "cut at a limit" in page("t", [shown(cut=True)], []) and "cut at a limit" not in page("t", [shown()], [])


def test_control_characters_are_shown_not_sent():
    assert visible("\x1b[2J\x00\n\t") == "␛[2J␀\n\t"


def test_the_page_needs_nothing_from_elsewhere():
    text = page("t", [shown()], [])
    assert not [word for word in ("http://", "https://", "<script", "@import", "url(") if word in text]
