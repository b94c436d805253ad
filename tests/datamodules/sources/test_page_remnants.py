"""What a chat page leaves in copied text."""

import time

import pytest

from datamodules.sources.page_remnants import text_of_page

PAGE = (
    '<div class="markdown prose w-full break-words light"><p>To list <em>files</em> &amp; more_names:</p><pre><div class="bg-black">'
    '<div class="flex items-center"><span>bash</span><button class="flex ml-auto">Copy code</button></div><div class="p-4">'
    '<code class="hljs language-bash">ls -la\nif a &lt; b</code></div></div></pre><ol><li><p>one</p></li><li>two*</li></ol></div>'
)


def test_the_html_of_an_answer_becomes_markdown():
    assert text_of_page(PAGE) == "To list *files* & more_names:\n\n```bash\nls -la\nif a < b\n```\n\n1. one\n2. two*"


@pytest.mark.parametrize(
    "text",
    [
        "Plain text, 한국어 ไทย\n\n\n\nwith blank lines",
        '<div class="modal fade" id="success"><p>My page does not close.</p></div>',
        "<p>Why is this paragraph red?</p>",
        'Why does `<div class="markdown">` not work?',
        "Press the button called Copy code.",
    ],
)
def test_text_about_html_keeps_it(text):
    assert text_of_page(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("```bashCopy code\nls\n```", "```bash\nls\n```"),
        ("```\npython\nCopy code\nprint()\n```", "```\npython\nCopy code\nprint()\n```"),
        ("```python\nCopy code\nprint()\n```", "```python\nprint()\n```"),
        ("```\nsqlCopy code\n\nSELECT 1\n```", "```sql\nSELECT 1\n```"),
        ("```\nCopy code\nx\n```", "```\nx\n```"),
    ],
)
def test_the_label_of_the_copy_button_goes(text, clean):
    assert text_of_page(text) == clean


def test_hostile_html_neither_hangs_nor_raises():
    begin = time.perf_counter()
    deep = '<div class="markdown">' * 3000
    assert text_of_page(deep) == deep
    for text in ("```" + " " * 10**6, "```" + "a" * 10**6 + "Copy code", "<" * 10**6, '<div class="markdown">' + "<p>" * 10**6):
        text_of_page(text)

    assert time.perf_counter() - begin < 5
