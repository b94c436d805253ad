"""Who may come in: the key, the names a server answers to, and how large a body may be."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kinnari.serving.api_errors import ApiError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/health",)  # for whoever watches the server
BODY_TIMEOUT_S = 30.0


class RequireKey:
    """ASGI middleware: the API wants `Authorization: Bearer KEY`; a browser may send the key as the password of any user (Basic).

    Args:
        app: what is protected.
        key: compared in constant time.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app, self.key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN or self._knows_key(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        refused = ApiError(401, "This server wants its key: `Authorization: Bearer KEY`.", code="invalid_api_key").response()
        if not scope["path"].startswith("/v1/"):
            refused.headers["WWW-Authenticate"] = 'Basic realm="Kinnari: the key is the password"'
        await refused(scope, receive, send)

    def _knows_key(self, headers: Headers) -> bool:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        given = value.strip().encode("latin-1")  # as headers are decoded
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        return scheme.lower() in ("bearer", "basic") and hmac.compare_digest(given, self.key)


class SmallBodies:
    """ASGI middleware: no request, of the page either, may send more than this.

    Args:
        most_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        message = f"The body is larger than {self.most_bytes} bytes, which is all this server takes."
        too_large = ApiError(413, message, code="body_too_large")
        said, got = Headers(scope=scope).get("content-length", ""), 0
        if said.isdecimal() and int(said[:20]) > self.most_bytes:
            await too_large.response()(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self.most_bytes:
                raise too_large
            return message

        await self.app(scope, counted, send)


class KnownHosts:
    """ASGI middleware: requests must name one of `hosts`, so that no web page can reach a loopback server under a name of its own.

    Args:
        hosts: names and addresses without port.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or host_name(Headers(scope=scope).get("host", "")) in self.hosts:
            await self.app(scope, receive, send)
            return
        message = f"This server answers to {', '.join(sorted(self.hosts))} alone; serve.allowed_hosts adds names."
        await ApiError(421, message, code="unknown_host").response()(scope, receive, send)


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


async def json_body(request: Request) -> Any:
    """The parsed body.

    Raises:
        ApiError: 400 no JSON, or not said to be; 408 too slow.
    """
    # A page of another site may send a form or plain text unasked, but not this type.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(400, "Send JSON, with the header `Content-Type: application/json`.")
    try:
        raw = await asyncio.wait_for(request.body(), BODY_TIMEOUT_S)
    except TimeoutError:
        raise ApiError(408, f"The body did not arrive within {BODY_TIMEOUT_S:g} seconds.") from None
    except ClientDisconnect:
        raise ApiError(400, "The connection was closed before the body was complete.") from None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as problem:  # UnicodeDecodeError is a ValueError
        raise ApiError(400, f"The body is no JSON: {str(problem)[:200]}.", code="invalid_json") from None
