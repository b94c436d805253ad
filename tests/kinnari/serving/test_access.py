"""Who may come in."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import openai
import pytest
from fastapi import FastAPI, Request

from kinnari.errors import ConfigError
from kinnari.generation.settings import GenerationSettings
from kinnari.serving.app import build_app
from kinnari.serving.openai_api import ApiSettings
from tests.kinnari.serving.recorded import Recorded, error_of
from tests.kinnari.serving.toys import running

SETTINGS = GenerationSettings(max_new_tokens=12)
KEY = "a-key-of-this-test"


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    app = build_app([Recorded("told")], ApiSettings(settings=SETTINGS), api_key=KEY, hosts=["localhost", "127.0.0.1", "::1"])
    with running(app) as base:
        yield base


def test_the_key_opens_and_nothing_else_does(locked: str) -> None:
    for key in ("wrong", KEY + "x", KEY[:-1], "", "ก"):
        with (
            openai.OpenAI(base_url=f"{locked}/v1", api_key=key or "none", max_retries=0) as wrong,
            pytest.raises((openai.AuthenticationError, UnicodeEncodeError)),
        ):
            wrong.models.list()
    with openai.OpenAI(base_url=f"{locked}/v1", api_key=KEY, max_retries=0) as right:
        assert right.chat.completions.create(model="told", messages=user("a")).choices[0].message.content == "สวัสดี"


def test_without_a_key_there_is_a_401_and_health_alone_is_open(locked: str) -> None:
    response = httpx2.get(f"{locked}/v1/models")
    error_of(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text
    assert httpx2.get(f"{locked}/health").status_code == 200


def test_a_browser_may_bring_the_key_as_a_password(locked: str) -> None:
    response = httpx2.get(f"{locked}/")
    assert response.status_code == 401 and response.headers["www-authenticate"].startswith("Basic")
    assert httpx2.get(f"{locked}/", auth=("anybody", KEY)).status_code == 404  # no page is mounted here
    assert httpx2.get(f"{locked}/", auth=("anybody", "wrong")).status_code == 401
    assert httpx2.get(f"{locked}/", headers={"Authorization": "Basic ???"}).status_code == 401


@pytest.mark.parametrize(("host", "status"), [("evil.example", 421), ("", 421), ("localhost:1", 200), ("[::1]:7860", 200)])
def test_a_loopback_server_answers_to_its_own_names_alone(locked: str, host: str, status: int) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    assert httpx2.get(f"{locked}/v1/models", headers=headers).status_code == status


def test_no_body_is_larger_than_the_limit_wherever_it_goes() -> None:
    taken = []

    def page(app: FastAPI) -> None:
        @app.post("/anything")
        async def anything(request: Request) -> int:
            taken.append(len(await request.body()))
            return taken[-1]

    app = build_app([Recorded("told")], ApiSettings(settings=SETTINGS, max_body_bytes=5000), page=page)
    with running(app) as base:
        assert httpx2.post(f"{base}/anything", content=b"x" * 5000).json() == 5000
        error_of(httpx2.post(f"{base}/anything", content=b"x" * 5001), 413)
        error_of(httpx2.post(f"{base}/anything", content=iter([b"x" * 1000] * 9)), 413)
    assert taken == [5000]


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_models_need_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ConfigError, match="names"):
        build_app([Recorded(name) for name in names], ApiSettings(settings=SETTINGS))
