"""The chat page in a real browser: asking, streaming, stopping, opinions, votes, tabs, reloads, languages; and what it never does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from selenium import webdriver

from kinnari.errors import ConfigError
from kinnari.evaluation.judging.questionnaire import LAYOUTS
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.page import build_page
from kinnari.serving.page_texts import TEXTS
from kinnari.tasks.compose import compose
from kinnari.tasks.judge_rows import compared_rows, with_humans
from kinnari.tasks.questionnaire import questionnaire
from kinnari.text.tables import read_table
from tests.kinnari.serving.browser import Tab, chromium, serving, until
from tests.kinnari.serving.scripted import ScriptedModel

# Kept by CI, to be looked at.
PICTURE = Path(__file__).resolve().parents[3] / "artifacts" / "chat.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def models() -> list[ScriptedModel]:
    return [ScriptedModel("one", pace=0.005), ScriptedModel("two", pace=0.005)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def address(models, folder) -> Iterator[str]:
    settings = GenerationSettings(do_sample=True, temperature=0.7, top_p=0.9, max_new_tokens=64)
    with serving(models, settings=settings, feedback=folder / "feedback.jsonl", history=1) as found:
        yield found


@pytest.fixture
def tab(browser, address) -> Iterator[Tab]:
    with Tab(browser, address) as opened:
        yield opened


@pytest.fixture
def held(models) -> Iterator[None]:
    """Answers stop after their third word until `models[0].gate` is opened."""
    models[0].gate.clear()
    yield
    models[0].gate.set()


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def test_an_answer_grows_on_the_page_and_an_opinion_of_it_is_one_row(tab, folder, models, held):
    question = "count " + " ".join(map(str, range(40)))
    tab.ask(question)
    until(lambda: tab.text().partition("one heard:")[2] == " count", "the answer has begun")
    models[0].gate.set()
    until(lambda: tab.text().partition("one heard:")[2].endswith("38 39"), "the answer is whole")
    tab.write("to the point", "#comment input, #comment textarea")
    before = rows(folder / "feedback.jsonl")
    tab.click("#good")
    row = until(lambda: rows(folder / "feedback.jsonl")[len(before) :], "a row was written")[0]
    assert (row["model"], row["verdict"], row["comment"]) == ("one", "good", "to the point")
    assert row["messages"] == [{"role": "user", "content": question}]
    assert row["answer"].split() == ["one", "heard:", *question.split()]
    assert (row["settings"]["temperature"], row["settings"]["top_p"], row["settings"]["max_new_tokens"]) == (0.7, 0.9, 64)
    assert isinstance(row["settings"]["seed"], int) and row["settings"]["stop"] == []
    tab.wait_for_text("Noted, thank you.", "body")
    tab.picture(PICTURE)
    tab.click("#report")
    assert until(lambda: rows(folder / "feedback.jsonl")[len(before) + 1 :], "a second row")[0]["verdict"] == "report"


def test_two_tabs_at_once_have_histories_of_their_own(browser, address, models, held):
    with Tab(browser, address) as left, Tab(browser, address) as right:
        left.front()
        left.ask("apples a a a")
        left.wait_for_text("heard: apples")
        right.front()
        right.ask("pears b b b")
        right.wait_for_text("heard: pears")
        assert len(models[0].running) == 2, "both are answered at the same time"
        models[0].gate.set()
        right.wait_for_text("heard: pears b b b")
        assert "apples" not in right.text()
        left.front()
        left.wait_for_text("heard: apples a a a")
        assert "pears" not in left.text()
        until(lambda: not models[0].running, "both have ended")
        until(lambda: left.find("#question button").text == "Send", "the left tab is ready")
        left.ask("more")
        left.wait_for_text("heard: more")
        assert [m.content.split()[0] for m in models[0].requests[-1].messages] == ["apples", "one", "more"]


def test_a_window_of_one_exchange_is_sent_and_again_take_back_and_new_chat_do_what_they_say(tab, models):
    for word in ("first", "second", "third"):
        tab.ask(word)
        tab.wait_for_text(f"heard: {word}")
        until(lambda: tab.find("#question button").text == "Send" and tab.find("#retry").is_enabled(), "the page is ready")
    asked = [message.content.strip() for message in models[0].requests[-1].messages]
    assert asked == ["second", "one heard: second", "third"]
    seed = models[0].requests[-1].seed
    before = len(models[0].requests)
    tab.click("#retry")
    until(lambda: len(models[0].requests) > before, "it was asked again")
    again = models[0].requests[-1]
    assert [message.content.strip() for message in again.messages] == asked and again.seed != seed
    until(lambda: tab.find("#undo").is_enabled(), "it was answered again")
    tab.click("#undo")
    until(lambda: "third" not in tab.text(), "the last exchange is gone")
    assert "second" in tab.text() and tab.find("#question textarea").get_attribute("value") == "third"
    tab.click("#clear")
    until(lambda: "first" not in tab.text(), "the chat is empty")
    tab.find("#question textarea").clear()
    tab.ask("alone")
    tab.wait_for_text("heard: alone")
    assert len(models[0].requests[-1].messages) == 1


def test_stop_ends_the_answer_and_keeps_what_was_said(tab, models, folder, held):
    tab.ask("long word word")
    tab.wait_for_text("heard: long")
    tab.click("#question .stop-button")
    until(lambda: not models[0].running, "nothing runs")
    tab.click("#bad")
    row = until(lambda: [r for r in rows(folder / "feedback.jsonl") if r["verdict"] == "bad"], "the row of a stopped answer")[0]
    assert row["answer"] == "one heard: long "


def test_a_reload_in_the_middle_cancels_the_answer_and_begins_an_empty_chat(tab, models, held):
    tab.ask("endless word word")
    tab.wait_for_text("heard: endless")
    assert len(models[0].running) == 1
    tab.browser.refresh()
    until(lambda: not models[0].running, "its row is free")
    tab.wait_for("#question textarea")
    assert "endless" not in tab.text()
    models[0].gate.set()
    tab.ask("afterwards")
    tab.wait_for_text("heard: afterwards")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("x" * 2100, "The conversation is too long for this model. The prompt has 2100 tokens and the model 2000. Begin a new chat."),
        ("explode", "Something went wrong on the server; it is in its log."),
    ],
    ids=["too-long", "failure"],
)
def test_what_cannot_be_answered_is_a_sentence_in_the_chat(tab, question, said):
    tab.paste(question)
    tab.ask("")
    tab.wait_for_text(said)
    assert "Traceback" not in tab.text("body") and "secret" not in tab.text("body")
    assert not any(row.is_displayed() for row in tab.browser.find_elements("id", "feedback")), "there is nothing to have an opinion of"
    tab.ask("and now?")
    tab.wait_for_text("heard: and now?")


def test_settings_reach_the_model(tab, models):
    tab.click("#open-settings")
    tab.write("Be brief.", "#system textarea")
    tab.write("17", "#seed textarea, #seed input")
    tab.write("END", "#stop-texts textarea, #stop-texts input")
    tab.click("#start-script input")
    options = until(lambda: tab.browser.find_elements("css selector", "#start-script [role=option]"), "the scripts are listed")
    next(option for option in options if option.text.strip().endswith("ไทย")).click()
    tab.ask("hello")
    tab.wait_for_text("heard: hello")
    request = models[0].requests[-1]
    assert [(message.role, message.content) for message in request.messages] == [("system", "Be brief."), ("user", "hello")]
    assert (request.seed, request.stop, request.settings.start_script) == (17, ("END",), "th")


def test_votes_are_blind_and_the_questionnaire_reads_them_back(browser, address, models, folder, tmp_path):
    names = {model.name for model in models}
    choices = ["A", "B", "tie", "both_bad", "A", "A"]
    with Tab(browser, address) as tab:
        tab.open_comparison()
        for number, choice in enumerate(choices):
            tab.ask(f"question {number}", "#compare-question textarea")
            tab.click(f"#vote-{choice}")
            tab.wait_for_text("A was", "#revealed")
            # Which answer stood where is told by the answers themselves, and must be what is revealed.
            side_a, side_b = (tab.text(f"#answer-{side}").split("\n")[1].split()[0] for side in "ab")
            assert {side_a, side_b} == names
            assert tab.text("#revealed") == f"A was {side_a}, B was {side_b}."
    votes = rows(folder / "votes" / "votes.jsonl")
    assert [vote["choice"] for vote in votes] == choices
    cfg = compose(["task=questionnaire", "task.mode=import", f"task.answers={folder}/votes/sheets", f"task.key={folder}/votes/key.csv",
                   f"output_dir={tmp_path}/read"])  # fmt: skip
    result = questionnaire(cfg)
    won = [vote[vote["choice"]]["model"] if vote["choice"] in "AB" else "tie" for vote in votes]
    assert (result["first"], result["second"], result["items"], result["votes"]) == ("one", "two", 6, 6)
    assert result["votes/tie"] == pytest.approx(2 / 6)
    assert result["votes/first"] == pytest.approx(won.count("one") / 6)
    # and the judge compares itself with them: its two columns are the two models
    majority = str(tmp_path / "read" / "majority.csv")
    layout = LAYOUTS["en"]
    node = {
        "input": majority,
        "columns": [layout.answer_a, layout.answer_b],
        "prompt_column": layout.prompt,
        "id_column": None,
        "limit": None,
    }
    read, left_out = compared_rows(node, "judge")
    assert (len(read), left_out) == (6, 0) and read[0].pair.first.split()[0] == "one" and read[0].pair.prompt == "question 0"
    said = with_humans(read, majority)
    assert [said[vote["id"]] for vote in votes] == [{"one": "first", "two": "second", "tie": "tie"}[winner] for winner in won]
    assert list(read_table(majority, "majority")[0])[-2:] == ["A", "B"]


@pytest.mark.parametrize("language", TEXTS)
def test_the_page_speaks_the_language_of_the_browser(browser, address, language):
    texts = TEXTS[language]
    with Tab(browser, address, accept_language=f"{language},en;q=0.5") as tab:
        until(lambda: tab.find("#question textarea").get_attribute("placeholder") == texts.placeholder, "the page has changed its language")
        drawn = tab.text("body")
        for shown in (texts.tagline, texts.chat, texts.compare, texts.retry, texts.undo, texts.clear, texts.send):
            assert shown in drawn
        assert texts.settings in tab.text("#open-settings")
        assert tab.find("#models input").get_attribute("value") == f"{texts.model}: one"
        tab.open_comparison()
        assert not any(found.is_displayed() for found in tab.browser.find_elements("css selector", "#models, #model-name")), "it is blind"
        tab.wait_for_text(texts.compare_hint, "#compare-hint")
        other = "ko" if language == "en" else "en"
        tab.choose_language(TEXTS[other].name)
        tab.wait_for_text(TEXTS[other].compare_hint, "#compare-hint")
        assert TEXTS[other].settings in tab.text("#open-settings")
        assert texts.tagline not in tab.text("body")


def test_the_only_model_is_named_and_settings_open_and_close_by_a_labelled_button(browser, tmp_path):
    name = "smollm2_135m+2026-01-01_10-20-30"
    settings = {"settings": GenerationSettings(), "feedback": tmp_path / "f.jsonl", "language": "th"}
    with serving([ScriptedModel(name)], **settings) as address, Tab(browser, address) as tab:
        assert tab.text("#model-name").split() == [f"{TEXTS['th'].model}:", name]
        assert TEXTS["th"].settings in tab.text("#open-settings")
        arrow = tab.find(".toggle-button")
        assert not arrow.is_displayed(), "an arrow says nothing of settings"
        tab.click("#open-settings")
        tab.wait_for("#temperature")
        until(arrow.is_displayed, "it can be closed")
        tab.picture(PICTURE.with_name("settings.png"))
        arrow.click()
        until(lambda: not arrow.is_displayed(), "it is closed")


def test_nobody_writes_files_on_the_server(address):
    assert httpx2.post(f"{address.rstrip('/')}/gradio_api/upload", files={"files": ("empty", b"")}).status_code == 404
    assert httpx2.get(f"{address.rstrip('/')}/gradio_api/deep_link", params={"session_hash": "a"}).status_code == 404
    assert httpx2.get(f"{address.rstrip('/')}/gradio_api/file=/etc/passwd").status_code == 403


def test_nothing_is_fetched_from_elsewhere(browser, tmp_path):
    seen = []

    class Outside(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    outside = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Outside)
    threading.Thread(target=outside.serve_forever, daemon=True).start()
    spy = f"http://127.0.0.1:{outside.server_port}"
    told = f"look ![picture]({spy}/p.png) <img src='{spy}/i.png'> <script>fetch('{spy}/s')</script> seen"
    browser.get_log("performance")
    only = ScriptedModel("only", answer=told)
    with serving([only], settings=GenerationSettings(), feedback=tmp_path / "f.jsonl") as address, Tab(browser, address) as tab:
        tab.ask("show me")
        tab.wait_for_text("seen")
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        drawn = tab.find("#chat").get_attribute("innerHTML")
    outside.shutdown()
    fetched = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    away = [url for url in fetched if not url.startswith((address, "data:", "blob:", "about:", "chrome:", spy))]
    assert away == [] and len(fetched) > 5
    assert seen == [], "an answer made the browser fetch something"
    assert f"{spy}/p.png" in drawn and "<script" not in drawn


@pytest.mark.parametrize(
    ("names", "changed", "problem"),
    [([], {}, "at least one model"), (["a", "a"], {}, "a name of its own"), (["a"], {"history": -1}, "0 or more"),
     (["a"], {"language": "fr"}, "choose one of auto, en, ko, th, zh")],
)  # fmt: skip
def test_a_page_that_makes_no_sense_is_refused(names, changed, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        build_page(list(map(ScriptedModel, names)), settings=GenerationSettings(), feedback=tmp_path / "f.jsonl", **changed)
