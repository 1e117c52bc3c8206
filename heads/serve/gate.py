"""Every request passes here first: who may ask, whether the server still takes new ones, the headers of answers.

A page of another site can have a browser send requests to this machine, under a name that it makes lead here (DNS
rebinding): on a loopback address only requests for a name of this machine are answered, and none of another origin.
"""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heads.serve.serve_options import ServeOptions
from heads.serve.serving_metrics import ServingMetrics

OPEN = {"/", "/healthz"}  # asked for without a token; neither says anything of the run then
PATHS = {"/", "/predict", "/healthz", "/metrics", "/openapi.json"}  # of the metrics; all others are one
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
RETRY_S = 1  # when to try again

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Gate:
    """An ASGI application around another; counts who is inside, and lets nobody in once it is `closed`."""

    def __init__(self, app: ASGIApp, options: ServeOptions, metrics: ServingMetrics) -> None:
        self._app, self._options, self._metrics = app, options, metrics
        self.closed = False
        self.inside = 0  # requests that are accepted and not answered yet
        self.turned_away = 0  # that came once it was closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                self._metrics.saw_request(path, message["status"])
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        self.inside += 1
        try:
            await self._app(scope, receive, answer)
        finally:
            self.inside -= 1

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """What a request is told that is not let in."""
        headers = Headers(scope=scope)
        if self._options.is_loopback and not self._is_own_name(host_name(headers.get("host", ""))):
            return _refused(421, "The Host header names another host than this server's.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return _refused(403, "Requests from pages of other origins are not answered.")
        if scope["path"] not in OPEN and not self._has_token(headers):
            return _refused(401, "Expected the header Authorization: Bearer <token>.", {"WWW-Authenticate": "Bearer"})
        if self.closed:
            self.turned_away += 1
            return _refused(503, "The server is stopping.", {"Retry-After": str(RETRY_S), "Connection": "close"})
        return None

    def _is_own_name(self, name: str) -> bool:
        return name in LOCAL_NAMES or name == self._options.host.lower()

    def _has_token(self, headers: Headers) -> bool:
        wanted = self._options.token
        if wanted is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), wanted.encode())  # takes as long whatever is given
        return same and scheme.lower() == "bearer"


def host_name(host: str) -> str:
    """The name in a Host header, without its port; "" where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _refused(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
