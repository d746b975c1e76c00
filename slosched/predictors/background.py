"""A learned predictor beside an engine: it answers at once, and reads in a thread of its own."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import perf_counter

import numpy as np

from slosched.core.drain import drain
from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.history import History
from slosched.predictors.learned import Blend, Reader, View

_WAITING = 1024  # requests to be read; of more, the oldest are never read
_KEPT = 8192  # requests of whom something was said
_MOST = 32  # read together
_FAILURES = 10  # in a row, after which nothing is read any more


class Background:
    """Answers with what was read so far, or by experience; reads the newest requests first.

    Parameters
    ----------
    load
        Loads the model, in the thread; what it raises is a failure like any other.
    history, weight
        As for `Blend`.
    every
        Output tokens after which a request is read again.
    batch_ms
        Texts are read together as long as that takes no longer.
    """

    def __init__(
        self,
        load: Callable[[], Reader],
        history: History,
        weight: float,
        *,
        every: int = 25,
        batch_ms: float = 50.0,
    ) -> None:
        self._load, self._history, self._weight = load, history, weight
        self._every, self._batch_s = every, batch_ms / 1e3
        self._rereads = False  # until the model says so
        self._blend: Blend | None = None  # until the model is there
        self._waiting: OrderedDict[str, tuple[Request, int]] = OrderedDict()
        self._views: OrderedDict[str, View] = OrderedDict()
        self._changed = Condition()
        self._improved: deque[str] = deque()
        self._seconds: deque[float] = deque(maxlen=_WAITING)
        self._errors: deque[BaseException] = deque(maxlen=_FAILURES)
        self._per_text = self._batch_s  # s; learned
        self._closed = False
        self._thread: Thread | None = None

    # -- what planners ask ---------------------------------------------------------------------

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect so many more tokens, shape (n, 3), and have read again who said more since."""
        with self._changed:
            views = [self._views.get(request.request_id) for request in requests]
            for request, view, out in zip(requests, views, produced.tolist(), strict=True):
                if request.transcript is not None and self._is_due(view, out):
                    self._waiting[request.request_id] = request, out
                    self._waiting.move_to_end(request.request_id)
            while len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)
            if self._waiting:
                self._start()
                self._changed.notify()
        blend = self._blend
        if blend is None:
            return self._history.remaining(requests, produced)
        return blend.remaining(requests, produced, views)

    def _is_due(self, view: View | None, produced: int) -> bool:
        due = view is None or (self._rereads and view.at + self._every <= produced)
        return due and not self._closed

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn from a request that came to its end."""
        with self._changed:
            self._waiting.pop(request.request_id, None)
            self._views.pop(request.request_id, None)
        self._history.observe(request, output_tokens)

    def improved(self) -> list[str]:
        """Return the ids of the requests that were read since this was last asked."""
        return drain(self._improved)

    def take_seconds(self) -> list[float]:
        """Return the seconds that each text took to read, since last asked."""
        return drain(self._seconds)

    def take_errors(self) -> list[BaseException]:
        """Return what went wrong since last asked."""
        return drain(self._errors)

    def close(self) -> None:
        """Read nothing more; what is being read is not waited for."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()

    # -- the thread ----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="slosched-predictor", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            reader = self._load()
        except (Exception, SystemExit) as error:
            self._give_up(error)
            return
        self._rereads = reader.rereads
        self._blend = Blend(self._history, reader.model.usual, self._weight)
        failures = 0
        while batch := self._next():
            try:
                self._read(reader, batch)
                failures = 0
            except (Exception, SystemExit) as error:
                failures += 1
                if failures == _FAILURES:
                    self._give_up(error)
                    return
                self._errors.append(error)

    def _give_up(self, error: BaseException) -> None:
        self._errors.append(error)
        self.close()

    def _next(self) -> list[tuple[Request, int]]:
        """Wait for requests to read; the newest, as many as can be read in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            most = int(np.clip(self._batch_s / self._per_text, 1, _MOST))
            return [self._waiting.popitem()[1] for _ in range(min(most, len(self._waiting)))]

    def _read(self, reader: Reader, batch: Sequence[tuple[Request, int]]) -> None:
        started = perf_counter()
        said = [(r, r.transcript.read(out)) for r, out in batch if r.transcript is not None]
        there = [(request, read) for request, read in said if read is not None]
        if not there:
            return
        views = reader.views([request for request, _ in there], [read for _, read in there])
        seconds = (perf_counter() - started) / len(there)
        self._per_text += (seconds - self._per_text) / 8
        with self._changed:
            for (request, _), view in zip(there, views, strict=True):
                self._views[request.request_id] = view
                self._views.move_to_end(request.request_id)
                self._improved.append(request.request_id)
                self._seconds.append(seconds)
            while len(self._views) > _KEPT:
                self._views.popitem(last=False)
