"""sse-starlette, broadcasting through one queue a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

clients: set[asyncio.Queue[str]] = set()


async def events(request: Request) -> Response:
    async def stream() -> AsyncIterator[ServerSentEvent]:
        waiting: asyncio.Queue[str] = asyncio.Queue()
        clients.add(waiting)
        try:
            while True:
                yield ServerSentEvent(await waiting.get(), event="message")
        finally:
            clients.discard(waiting)

    return EventSourceResponse(stream(), ping=30)


async def publish(request: Request) -> Response:
    text = (await request.body()).decode()
    for client in clients:
        client.put_nowait(text)
    return Response(status_code=204)


app = Starlette(routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])])
