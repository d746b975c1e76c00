"""A trace against a live server, from the first question to the last answer."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from secrets import token_hex

import structlog

from slosched.bench.compose import Composer, Endpoint
from slosched.bench.prompts import Prompts
from slosched.bench.replay import OpenLoop, Replay
from slosched.bench.tally import Tally
from slosched.client.answer import SHED, Answer
from slosched.client.connection import Connection
from slosched.client.server import ServedModel, metrics, policy_in_force, served_model
from slosched.client.vocabulary import parse_range, safe_ids
from slosched.core.errors import ServerError
from slosched.core.request import Request, TracedRequest
from slosched.core.slo import SloClass

_WARM_UP = 8  # tokens of prompt and of answer
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Target:
    """The server, and how it is asked.

    Parameters
    ----------
    url
        Its root, without `/v1`.
    model
        None for its first.
    token_ids
        Of prompts that are made up, like `1000-30000`; None to choose.
    natural
        Whether answers may stop by themselves before they are as long as the trace's.
    warm_up
        Requests before the first that counts: an engine's first steps are slow.
    """

    url: str
    model: str | None = None
    api_key: str | None = None
    endpoint: Endpoint = Endpoint.completions
    token_ids: str | None = None
    natural: bool = False
    warm_up: int = 1
    max_concurrency: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What came back, from which model, and under which policy if slosched planned there."""

    replay: Replay
    model: ServedModel
    policy: str


async def run(
    target: Target,
    trace: Sequence[TracedRequest],
    classes: Mapping[str, SloClass] | None,
    seed: int = 0,
    changed: Callable[[Tally], None] = lambda _: None,
) -> Run:
    """Replay a trace; Ctrl-C ends it early, with what has come back by then.

    Parameters
    ----------
    classes
        What names of classes promise; None to send no tags.
    seed
        Of prompts that are made up.
    changed
        Called as requests go out and come back.

    Raises
    ------
    ServerError
        If there is no such server or model, or it does not take the requests.
    """
    async with Connection(target.url, target.api_key) as connection:
        model = await served_model(connection, target.model)
        _check_lengths(trace, model)
        if target.token_ids is None:
            ids = await safe_ids(connection, model.name)
        else:
            ids = parse_range(target.token_ids)
        # The same prompts once more, on the same server, must not be found in its cache.
        salt = token_hex(8) if model.is_vllm else ""
        composer = Composer(
            model.name, Prompts(ids, seed), target.endpoint, model.is_vllm, classes,
            target.natural, salt,
        )  # fmt: skip
        await _warm_up(connection, composer, trace[0], target.warm_up)
        before = await metrics(connection)
        loop = OpenLoop(connection, composer, target.max_concurrency, target.timeout_s, changed)
        with _stopping_at_ctrl_c(loop):
            replay = await loop.run(trace)
        return Run(replay, model, policy_in_force(before, await metrics(connection)))


async def _warm_up(
    connection: Connection, composer: Composer, like: TracedRequest, times: int
) -> None:
    """Ask short questions, and find out whether the server takes them at all."""
    for i in range(times):
        request = Request(f"warm-up {i}", 0.0, _WARM_UP, like.request.slo, like.request.slo_class)
        answer = Answer()
        await connection.stream(composer.call(TracedRequest(request, _WARM_UP)), answer)
        if answer.error not in ("", SHED):
            raise ServerError(
                f"{connection.url}: the first request failed: {answer.error}: {answer.detail}"
            )


def _check_lengths(trace: Sequence[TracedRequest], model: ServedModel) -> None:
    most = model.max_model_len
    if most is None:
        return
    lengths = [traced.request.input_tokens + traced.output_tokens for traced in trace]
    if longer := sum(length > most for length in lengths):
        _log.warning(
            "requests that are too long for the server will fail",
            requests=longer,
            max_model_len=most,
            longest=max(lengths),
        )


@contextmanager
def _stopping_at_ctrl_c(loop: OpenLoop) -> Iterator[None]:
    running = asyncio.get_running_loop()

    def stop() -> None:
        running.remove_signal_handler(signal.SIGINT)  # who presses it again means it
        loop.stop()

    # Only the main thread hears signals.
    with suppress(ValueError, RuntimeError, NotImplementedError):
        running.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError, NotImplementedError):
            running.remove_signal_handler(signal.SIGINT)
