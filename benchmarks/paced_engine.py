"""An engine whose streams take their time, or never end: for clients that are slow.

python benchmarks/paced_engine.py PORT
"""

import asyncio
import sys
from contextlib import suppress

from aiohttp import web

EVENTS, PAUSE_S = 20, 0.005
_EVENT = b'data: {"id":"x","object":"text_completion","choices":[{"index":0,"text":"a"}]}\n\n'


async def _stream(request: web.Request) -> web.StreamResponse:
    """Send some events, one by one; or events as fast as they are read, for `endless`."""
    asked = await request.json()
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    if asked["prompt"] == "endless":
        with suppress(ConnectionError):  # whoever asked is gone
            while True:
                await answer.write(_EVENT * 50)
        return answer
    for _ in range(EVENTS):
        await asyncio.sleep(PAUSE_S)
        await answer.write(_EVENT)
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def _healthy(_: web.Request) -> web.Response:
    return web.Response()


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.post("/v1/completions", _stream), web.get("/health", _healthy)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
