"""Who may do what: host names, tokens, sessions, and headers that keep a browser from doing what the user did not ask for.

Bound to loopback without tokens, everybody on this machine may operate; with any other address a token is required
(``DashboardSettings``). A browser trades its token for a cookie that scripts cannot read; a program sends ``Authorization: Bearer``. Requests
that change something need the header ``X-Tidecast``, which no form and no other origin can send without being asked first.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.settings import DashboardSettings

Role = Literal["none", "read", "operate"]
COOKIE = "tidecast"
SESSION_S = 12 * 3600
MOST_SESSIONS = 1_000
LARGEST_BODY = 64 * 1024
OPEN = ("/livez", "/readyz", "/api/session", "/static/")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Access:
    """Tokens and sessions. Sessions live in memory: a restart asks for the token again."""

    def __init__(self, settings: DashboardSettings) -> None:
        self._settings = settings
        self._sessions: OrderedDict[str, tuple[Role, float]] = OrderedDict()

    @property
    def needs_token(self) -> bool:
        """Whether a token was configured."""
        return self._settings.read_token is not None or self._settings.operate_token is not None

    def role_of(self, token: str) -> Role:
        """The role that a token gives."""
        named: tuple[tuple[Role, object], ...] = (
            ("operate", self._settings.operate_token),
            ("read", self._settings.read_token),
        )
        for role, secret in named:
            if secret is not None and hmac.compare_digest(secret.get_secret_value().encode(), token.encode()):  # type: ignore[attr-defined]
                return role
        return "none"

    def begin(self, token: str) -> str | None:
        """A session for the holder of a token; None where the token is wrong."""
        role = self.role_of(token)
        if role == "none":
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = (role, time.monotonic() + SESSION_S)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    def end(self, session: str) -> None:
        """Forget a session."""
        self._sessions.pop(session, None)

    def role(self, headers: Headers) -> Role:
        """The role of a request."""
        if not self.needs_token:
            return "operate"
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.role_of(token.strip())
        role, until = self._sessions.get(session_of(headers), ("none", 0.0))
        return role if time.monotonic() < until else "none"

    def knows_host(self, host: str) -> bool:
        """Whether a Host header may stand here: another name for this address is another site's try to read it (DNS rebinding)."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() in {allowed.lower() for allowed in self._settings.allowed_hosts}:
            return True
        if is_loopback(self._settings.host):
            return is_loopback(name.lower())
        return not self._settings.allowed_hosts


def session_of(headers: Headers) -> str:
    """The session that a request's cookie names."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


class Gate:
    """ASGI middleware that lets through what ``Access`` allows, and adds the headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refuse(scope)
        await (refused or self._app)(scope, receive, with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not self._access.knows_host(headers.get("host", "")):
            return _no(421, "this host name is not served here; add it to dashboard.allowed_hosts")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY or "chunked" in headers.get("transfer-encoding", ""):
            return _no(413, f"a request holds at most {LARGEST_BODY} bytes, and says how many")
        changes = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and "x-tidecast" not in headers:
            return _no(403, "a request that changes something needs the header X-Tidecast")
        if path == "/" or path.startswith(OPEN):
            return None
        role = self._access.role(headers)
        if role == "none":
            return _no(401, "a token is needed: sign in, or send Authorization: Bearer ...")
        if changes and role != "operate":
            return _no(403, "this token may read only")
        return None


def _no(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
