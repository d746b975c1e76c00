"""A log of finished requests to train predictors from: off unless asked for, bounded, rotated."""

import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from slosched.core.errors import ConfigError
from slosched.core.request import Request
from slosched.vllm.shield import log
from slosched.vllm.transcript import EngineTranscript

if TYPE_CHECKING:
    from slosched.config.request_log import RequestLogSettings

_WAITING = 4096  # lines to be written; of more, the newest are lost
_PRIVATE = 0o600


class _Finished(NamedTuple):
    request: Request
    arrival: float
    output_tokens: int


class RequestLog:
    """Writes a line for each finished request, in the format of slosched's own traces.

    Texts are decoded and lines written in a thread; an engine's step only hands them over. What
    cannot be written is lost, and said once.

    Parameters
    ----------
    settings
        Where to, how much, and whether prompts and answers are part of it.

    Attributes
    ----------
    lost
        Requests that are not in the log, as writing was too slow, or failed.

    Raises
    ------
    ConfigError
        If the file cannot be opened.
    """

    def __init__(self, settings: "RequestLogSettings") -> None:
        self._texts, self.lost = settings.texts, 0
        try:
            self._file = _PrivateFile(
                settings.path,
                maxBytes=max(int(settings.max_mb * 1e6 / settings.files), 1),
                backupCount=settings.files - 1,
                encoding="utf-8",
            )
        except OSError as error:
            raise ConfigError(f"request_log.path: {settings.path}: {error.strerror}") from None
        self._queue: Queue[_Finished | None] = Queue(_WAITING)
        self._thread = Thread(target=self._work, name="slosched-request-log", daemon=True)
        self._thread.start()

    def finished(self, request: Request, arrival: float, output_tokens: int) -> None:
        """Note a request that came to its end; it never waits.

        Parameters
        ----------
        arrival
            Seconds since the epoch.
        """
        try:
            self._queue.put_nowait(_Finished(request, arrival, output_tokens))
        except Full:
            self.lost += 1

    def close(self) -> None:
        """Write what is left, within some seconds."""
        self._queue.put(None)
        self._thread.join(5.0)

    def _work(self) -> None:
        while (finished := self._queue.get()) is not None:
            try:
                self._file.emit(logging.makeLogRecord({"msg": self._line(finished)}))
            except Exception as error:
                if not self.lost:
                    log.warning("slosched: requests could not be logged: %s; told once", error)
                self.lost += 1
        with suppress(OSError):  # what cannot be written is lost
            self._file.close()

    def _line(self, finished: _Finished) -> str:
        request = finished.request
        fields: dict[str, Any] = {
            # First, and of as many digits until the year 2286: `sort` brings files in order.
            "timestamp": round(1e3 * finished.arrival, 1),
            "input_length": request.input_tokens,
            "output_length": finished.output_tokens,
            "request_id": request.request_id,
            "slo_class": request.slo_class,
        }
        if request.tenant:
            fields["tenant"] = request.tenant
        if request.max_tokens is not None:
            fields["max_tokens"] = request.max_tokens
        if self._texts and isinstance(request.transcript, EngineTranscript):
            said = request.transcript.so_far()
            fields |= {"prompt": said.prompt, "answer": said.answer}
        return orjson.dumps(fields).decode()


class _PrivateFile(RotatingFileHandler):
    """A rotating file that only its owner can read: it may hold what users wrote."""

    def _open(self) -> Any:  # noqa: ANN401 - a text file
        stream = super()._open()
        Path(self.baseFilename).chmod(_PRIVATE)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - logging's name
        """Let it be heard."""
        raise  # noqa: PLE0704 - logging calls this where it caught the error
