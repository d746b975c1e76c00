"""A learned predictor in virtual time: it reads whenever it is asked."""

from collections.abc import Sequence

from slosched.core.request import Request
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.learned import Blend, Reader, View


class AtOnce:
    """Reads every request that it is asked about, and answers then.

    Parameters
    ----------
    reader, blend
        Read texts; make of it what is left to say.
    """

    def __init__(self, reader: Reader, blend: Blend) -> None:
        self._reader, self._blend = reader, blend

    def remaining(self, requests: Sequence[Request], produced: IntArray) -> FloatArray:
        """Expect so many more tokens, shape (n, 3)."""
        views: list[View | None] = [None] * len(requests)
        said = {
            i: read
            for i, request in enumerate(requests)
            if request.transcript is not None
            and (read := request.transcript.read(int(produced[i]))) is not None
        }
        whose = [requests[i] for i in said]
        for i, view in zip(said, self._reader.views(whose, list(said.values())), strict=True):
            views[i] = view
        return self._blend.remaining(requests, produced, views)

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn from a request that came to its end."""
        self._blend.history.observe(request, output_tokens)
