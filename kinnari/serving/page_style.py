"""How the chat page looks: fonts of the reader's own system, so that nothing is fetched from elsewhere."""

from __future__ import annotations

import gradio

# Latin first, so that its digits and letters are used among Thai and CJK; then what systems ship for these scripts.
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans Thai", "Leelawadee UI", "Thonburi", "Noto Sans CJK KR",
          "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "sans-serif")  # fmt: skip
_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

STYLE = """
.gradio-container { padding-top: 0 !important; }
main.fillable {
  width: 100%; max-width: 1240px !important; margin: 0 auto !important; padding: 0.9rem 2rem 0.6rem !important;
}
.form { background: transparent !important; border: none !important; box-shadow: none !important; }
#heading { align-items: center; flex-wrap: nowrap; gap: 1rem; }
#heading h1 { font-size: 1.45rem; font-weight: 650; letter-spacing: -0.01em; margin: 0; line-height: 1.2; }
#heading p { color: var(--body-text-color-subdued); font-size: 0.86rem; margin: 0.15rem 0 0; }
#language { min-width: 8.5rem !important; max-width: 9.5rem; flex-grow: 0 !important; }
#model-name { flex: 0 1 24rem !important; min-width: 6rem !important; }
#model-name p { font-size: 0.9rem; overflow-wrap: anywhere; text-align: right; }
#open-settings { flex: 0 0 auto !important; min-width: 6rem; font-weight: 500; }
.sidebar:not(.open) .toggle-button { display: none; } /* the labelled button opens */
#models { max-width: 24rem; margin-right: auto; }
#chat, #answer-a, #answer-b, #question, #compare-question {
  border: 1px solid var(--border-color-primary); border-radius: 14px; background: var(--background-fill-primary);
}
.message { font-size: 0.98rem; line-height: 1.62; overflow-wrap: anywhere; }
.message-wrap .bot.message { background: var(--background-fill-secondary); border-color: transparent; }
.message-wrap .user.message { background: var(--primary-100); border-color: transparent; }
.dark .message-wrap .user.message { background: var(--primary-900); }
.message blockquote {
  border-left: 3px solid #d97706 !important; background: #fef3c7; color: #78350f !important; padding: 0.45rem 0.8rem;
  border-radius: 6px; margin: 0.2rem 0 !important;
}
.message blockquote p { margin: 0 !important; }
.dark .message blockquote { background: #422006; color: #fde68a !important; }
button[aria-label="Clear"] { display: none !important; } /* clears what is shown, not what the server remembers */
#question, #compare-question { padding: 0.3rem; }
#question textarea, #compare-question textarea {
  font-size: 1rem; line-height: 1.5; background: transparent; border: none; box-shadow: none;
}
.submit-button, .stop-button {
  width: auto !important; min-width: 4.4rem; padding: 0 1rem !important; border-radius: 10px !important; font-weight: 600;
}
.submit-button { background: var(--button-primary-background-fill) !important; color: white !important; }
.submit-button:hover { background: var(--button-primary-background-fill-hover) !important; }
.stop-button { background: #fee2e2 !important; color: #991b1b !important; }
.quiet button { flex: 0 1 auto !important; min-width: 6rem; font-weight: 500; }
#feedback { align-items: center; gap: 0.5rem; }
#feedback button { flex: 0 0 auto !important; min-width: 5.6rem; font-weight: 500; }
.side p { font-size: 1.05rem; font-weight: 600; margin: 0; }
#revealed { text-align: center; }
#compare-hint p { color: var(--body-text-color-subdued); margin: 0.2rem 0 0; }
@media (max-width: 700px) {
  #heading { flex-wrap: wrap; } #heading .prose:has(h1) p { display: none; } #feedback { flex-wrap: wrap; } #comment { flex-basis: 100%; }
}
"""


def theme() -> gradio.themes.Base:
    """Quiet, one accent colour, light and dark."""
    return gradio.themes.Base(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=_FONTS, font_mono=_MONOSPACE
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_shadow="none",
        button_border_width="1px",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_600",
        button_primary_text_color="white",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_border_color="*neutral_200",
        button_large_radius="10px",
        button_small_radius="9px",
    )
