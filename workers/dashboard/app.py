"""The HTTP application: the page's files, and the API that it reads, documented at /api/openapi.json."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.staticfiles import StaticFiles

from stream.errors import InputError, ServiceError
from stream.redis_connect import connect
from stream.redis_models import ModelRegistry
from stream.redis_reader import RedisReader
from workers.dashboard.access import COOKIE, SESSION_S, Access, Gate, session_of
from workers.dashboard.alert_routes import alert_routes
from workers.dashboard.hub import Hub
from workers.dashboard.overview import Overview
from workers.dashboard.series_routes import series_routes
from workers.dashboard.system_routes import system_routes
from workers.settings import Settings

STATIC = files("workers.dashboard") / "static"


class Token(BaseModel):
    """What a browser trades for a session."""

    token: Annotated[str, Field(max_length=1_000)]


class Standing(BaseModel):
    """Who one is."""

    role: Literal["none", "read", "operate"]
    needs_token: bool


def create_app(settings: Settings) -> FastAPI:
    """The application for what one configuration names. Raises ServiceError where Redis cannot be reached."""
    url = settings.redis.url.get_secret_value()
    client = connect(url)
    reader, registry = RedisReader(client, settings.namespace), ModelRegistry(client, settings.namespace)
    overview = Overview(reader, [feed.name for feed in settings.feeds])
    access = Access(settings.dashboard)
    app = FastAPI(
        title="Tidecast",
        description="Forecasts, cards, alerts and the state of the workers, as the page shows them.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.hub = Hub(url, reader.keys.live)
    app.include_router(series_routes(reader, overview, app.state.hub))
    app.include_router(alert_routes(reader))
    app.include_router(system_routes(settings, reader, registry))
    _sessions(app, access)
    _errors(app)
    _health(app, reader)
    page = (STATIC / "index.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def _page() -> HTMLResponse:
        return HTMLResponse(page)

    app.mount("/static", StaticFiles(packages=[("workers.dashboard", "static")]))
    app.add_middleware(Gate, access=access)
    return app


def _sessions(app: FastAPI, access: Access) -> None:
    @app.get("/api/session", tags=["session"])
    def _who(request: Request) -> Standing:
        """Which role this browser or token has."""
        return Standing(role=access.role(request.headers), needs_token=access.needs_token)

    @app.post("/api/session", tags=["session"])
    def _sign_in(given: Token, request: Request) -> Response:
        """Trade a token for a cookie."""
        session = access.begin(given.token)
        if session is None:
            raise HTTPException(401, "this token is not known here")
        answer = JSONResponse({"role": access.role_of(given.token), "needs_token": True})
        answer.set_cookie(
            COOKIE, session, max_age=SESSION_S, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
        return answer

    @app.delete("/api/session", tags=["session"])
    def _sign_out(request: Request) -> Response:
        """End this browser's session."""
        access.end(session_of(request.headers))
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE)
        return answer


def _errors(app: FastAPI) -> None:
    def told(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def tell(_request: Request, error: Exception) -> Response:
            return JSONResponse({"detail": str(error)}, status)

        return tell

    app.add_exception_handler(ServiceError, told(503))
    app.add_exception_handler(InputError, told(400))


def _health(app: FastAPI, reader: RedisReader) -> None:
    @app.get("/livez", tags=["health"])
    async def _alive() -> dict[str, str]:
        """Answers while the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"])
    def _ready() -> dict[str, str]:
        """Answers 200 where Redis does, else 503 with the reason."""
        reader.ping()
        return {"status": "ok"}
