"""What was said so far: a request's prompt, and its answer as far as it is out."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

CHARACTERS_PER_TOKEN = 4  # about, for whoever has no tokenizer


class Said(NamedTuple):
    """A prompt and the beginning of its answer.

    Parameters
    ----------
    prompt
        What is asked: of a chat the last message.
    answer
        Nothing yet: "".
    produced
        Output tokens that `answer` is.
    """

    prompt: str
    answer: str = ""
    produced: int = 0


class Transcript(Protocol):
    """Where the texts of one request can be read, by predictors that look at them."""

    def read(self, produced: int) -> Said | None:
        """Return what was said; None if the request is over.

        Parameters
        ----------
        produced
            Output tokens that the reader knows of; whoever keeps the texts may know better.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecordedTranscript:
    """The texts of a trace, of which nobody reads what is not out yet (law 5).

    Parameters
    ----------
    output_tokens
        Length of the whole answer, which is taken to be spread evenly over its characters.
    """

    prompt: str
    answer: str = field(repr=False)
    output_tokens: int = field(repr=False)

    def read(self, produced: int) -> Said:
        """Return the prompt, and so much of the answer."""
        out = min(produced, self.output_tokens)
        characters = len(self.answer) * out // max(self.output_tokens, 1)
        return Said(self.prompt, self.answer[:characters], out)
