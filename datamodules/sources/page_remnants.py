"""What a chat page leaves in text copied off it: its HTML, and the label of its buttons.

    <div class="markdown prose"><p>Use <code>ls</code>:</p><pre>...<button>Copy code</button>...</pre></div>   ->   Use `ls`: ...
    ```bashCopy code                                                                                          ->   ```bash

Only text wrapped by the page is unwrapped: somebody who asks about HTML keeps it.
"""

from __future__ import annotations

import re

# The elements in which the pages of ChatGPT kept a message; whole messages begin with one of them.
WRAPPER = re.compile(r"\A\s*+<(?:div|p|ol|ul|pre)\b[^<>]{0,400}>", re.IGNORECASE)
PAGE_CLASS = re.compile(r'<div class="(?:markdown|flex flex-col items-start|w-full|relative)\b', re.IGNORECASE)
COPY_BUTTON = re.compile(r"```([\w+#.-]{0,30})[ \t]*+\n?[ \t]*+([\w+#.-]{0,30}?)Copy code[ \t]*+\n*+")
BLANK_LINES = re.compile(r"\n[ \t]*+(?:\n[ \t]*+){2,}")
LONGEST = 200_000  # characters; longer text is left as it is, a parser would need seconds for it


def text_of_page(text: str) -> str:
    """The text of a message that was copied off a chat page, as Markdown; other text unchanged."""
    if len(text) <= LONGEST and WRAPPER.match(text) and PAGE_CLASS.search(text, 0, 2_000):
        from markdownify import markdownify  # takes half a second to import

        try:
            text = markdownify(
                text, heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False
            ).strip()
        except RecursionError:
            return text
        text = BLANK_LINES.sub("\n\n", text)
    return COPY_BUTTON.sub(lambda found: f"```{found.group(2) or found.group(1)}\n", text) if "Copy code" in text else text
