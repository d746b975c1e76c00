"""Logs for machines: a JSON object a line, whoever writes it."""

import json
import signal
import sys
import urllib.error
import urllib.request
from datetime import datetime

import pytest

from tests.server.test_serve import Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals")


def test_every_line_is_json() -> None:
    """Our own lines, a request's, and those of the libraries that we use."""
    arguments = [
        "gateway", "--port", "0", "--upstream", "http://127.0.0.1:1", "--log-format", "json", "-v",
        "--set", "server.access_log=true",
    ]  # fmt: skip
    with Program(arguments, {}) as program:
        url = program.wait_for(r'"url": "([^"]+)"')
        status = _posted(f"{url}/v1/completions")
        program.signal(signal.SIGTERM)
        assert program.end() == 0
    lines = [json.loads(line) for line in program.lines]
    for line in lines:
        assert line["level"] in {"info", "warning"}
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
    events = [line["event"] for line in lines]
    assert events[0] == "listening"
    assert status == 502
    failed, done = (
        next(line for line in lines if line["event"] == event)
        for event in ("engine unreachable", "request")
    )
    assert failed["request_id"] == done["request_id"] == "r-1"
    assert (done["outcome"], done["status"]) == ("failed", 502)
    assert any("POST /v1/completions" in event for event in events)


def _posted(url: str) -> int:
    request = urllib.request.Request(url, b"{}", {"x-request-id": "r-1"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)  # noqa: S310
    caught.value.close()
    return caught.value.code
