"""The tokens of an answer that comes back: the dispatcher is told of each, and of their number."""

from slosched.dispatch import Dispatcher
from slosched_server.answer_end import OUTPUT_TOKENS, TAIL
from slosched_server.fleet_metrics import FleetMetrics
from slosched_server.progress import Progress


class Counting:
    """Reads along with an answer.

    Parameters
    ----------
    dispatcher, metrics
        Told of tokens, and of lengths that were predicted wrong.
    request_id
        As the dispatcher knows the request.
    progress
        Counts events; told how many tokens there were in the end.
    """

    def __init__(
        self, dispatcher: Dispatcher, metrics: FleetMetrics, request_id: str, progress: Progress
    ) -> None:
        self._dispatcher, self._metrics = dispatcher, metrics
        self._id, self._progress = request_id, progress
        self._tail, self._told = b"", 0

    def read(self, chunk: bytes) -> None:
        """Read a piece of it, whose events may be counted later."""
        self._tail = (self._tail + chunk)[-TAIL:]

    def tell(self) -> None:
        """Tell of events that were counted by now."""
        if self._progress.events > self._told:
            self._told = self._progress.events
            self._dispatcher.on_token(self._id, self._told, self._progress.last)

    def end(self, now: float, unseen: int = 1) -> None:
        """Tell that it is whole; of one that nobody saw, how many tokens it will have had."""
        counted = OUTPUT_TOKENS.findall(self._tail)
        tokens = int(counted[-1]) if counted else self._told or unseen
        self._progress.tokens = tokens
        self._metrics.completed(self._dispatcher.first_guess(self._id), tokens)
        self._dispatcher.on_complete(self._id, tokens, now)
