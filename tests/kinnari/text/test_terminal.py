"""Texts of models and data are printed as they are."""

from rich.table import Table

from kinnari.text.terminal import terminal


def test_markup_and_emoji_codes_in_texts_stay_as_they_are(capsys):
    table = Table(title="[bold]title")
    table.add_column("answer")
    table.add_row("a [/INST] b :fire: [red]c")
    console = terminal()
    console.print(table)
    console.print("[/s] :smile:")
    shown = capsys.readouterr().out
    for text in ("[bold]title", "a [/INST] b :fire: [red]c", "[/s] :smile:"):
        assert text in shown
