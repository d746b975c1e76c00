"""Whether the gateway says when answers end."""

import structlog

log = structlog.get_logger()

_AT_ONCE_S = 0.002
_ENOUGH = 20  # streams in a row


class Endings:
    """Warns of a gateway that ends each exchange as soon as the answer begins.

    Then slots seem to be free while they are not, and the order of the plan is lost. Streams tell:
    between their head and their end an engine has to take steps.
    """

    def __init__(self) -> None:
        self._at_once = 0
        self._warned = False

    def note(self, seconds: float) -> None:
        """Hear how long after its head a stream has ended, as far as the gateway says."""
        self._at_once = self._at_once + 1 if seconds < _AT_ONCE_S else 0
        if self._at_once >= _ENOUGH and not self._warned:
            self._warned = True
            log.warning(
                "the gateway does not say when answers end, so plans go wrong: set "
                "response_trailer_mode to SEND, or response_body_mode to FULL_DUPLEX_STREAMED"
            )
