"""What is told of one request on its way through the queue, if anybody traces it."""

from slosched.dispatch import Dispatcher


class Trace:
    """Nobody traces it."""

    __slots__ = ()

    def waits(self) -> None:
        """Hear that it waits for a replica."""

    def bound(self, dispatcher: Dispatcher, queued_as: str) -> None:
        """Hear that it does no more; the dispatcher knows it by an id of its own."""
        del dispatcher, queued_as


UNTRACED = Trace()
