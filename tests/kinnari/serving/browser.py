"""A server in a thread and a real browser without a window, for tests of the chat page.

Chromium must be there: a page that no browser has opened is not tested. `make test` installs Debian's where it is missing.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastapi
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from kinnari.serving.page import build_page, mount_page

PATIENCE_S = 30.0  # a machine that others use may be slow; nothing waits longer than it has to
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def serving(models: Sequence[Any], **settings: Any) -> Iterator[str]:
    """The page, served on loopback: its address."""
    app = fastapi.FastAPI()
    mount_page(app, build_page(models, **settings))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started, "the server is up")
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A headless browser, closed in the end."""
    binary, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    assert binary and driver, "The chat page is tested in a browser: apt-get install chromium chromium-driver (make test does it for root)."
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # As root, as in a container, Chromium starts only without its sandbox; the small /dev/shm of containers would crash tabs.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1280,940",
                     "--disable-background-networking", "--disable-component-update", "--lang=en"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def until(holds: Callable[[], Any], what: str) -> Any:
    """Waits; what `holds` gave when it was true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if found := holds():
                return found
        except (NoSuchElementException, StaleElementReferenceException):
            pass  # the page is being drawn
        time.sleep(0.03)
    raise AssertionError(f"In {PATIENCE_S:.0f} s it did not come about that {what}.")


class Tab:
    """A tab of the browser with the page in it."""

    def __init__(self, browser: webdriver.Chrome, address: str, *, accept_language: str = "en") -> None:
        self.browser = browser
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        agent = browser.execute_script("return navigator.userAgent")
        browser.execute_cdp_cmd("Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": accept_language})
        browser.get(address)
        self.wait_for("#question textarea")

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.front()
        self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])

    def front(self) -> None:
        self.browser.switch_to.window(self.handle)

    def find(self, css: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def wait_for(self, css: str) -> Any:
        def displayed() -> Any:
            found = self.find(css)
            return found if found.is_displayed() else None

        return until(displayed, f"{css} is on the page")

    def text(self, css: str = "#chat") -> str:
        return str(self.find(css).text)

    def wait_for_text(self, text: str, css: str = "#chat") -> None:
        until(lambda: text in self.text(css), f"{css} says {text!r}")

    def click(self, css: str) -> None:
        self.wait_for(css).click()

    def write(self, text: str, css: str = "#question textarea") -> None:
        self.wait_for(css).send_keys(text)

    def ask(self, question: str, css: str = "#question textarea") -> None:
        self.write(question, css)
        self.find(css).send_keys(Keys.ENTER)

    def paste(self, text: str, css: str = "#question textarea") -> None:
        """A long text at once, as typing it would take minutes."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}));"
        self.browser.execute_script(script, self.wait_for(css), text)

    def choose_language(self, name: str) -> None:
        self.click("#language input")

        def listed() -> Any:  # text that still fades in is none to Selenium
            options = self.browser.find_elements(By.CSS_SELECTOR, "#language [role=option]")
            return next((option for option in options if name in option.text), None)

        until(listed, "the languages are listed").click()

    def open_comparison(self) -> None:
        self.browser.find_elements(By.CSS_SELECTOR, "button[role=tab]")[1].click()
        self.wait_for("#compare-question textarea")

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self.browser.save_screenshot(str(path))
