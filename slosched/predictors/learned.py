"""Lengths by a trained model that reads prompts, and answers as they grow."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from slosched.core.request import Request
from slosched.core.transcript import Said
from slosched.core.types import FloatArray, IntArray
from slosched.predictors.encoder import Embeddings, Runtime
from slosched.predictors.history import History, allowed
from slosched.predictors.model import LengthModel
from slosched.predictors.outlook import likely, thirds, weighed

_PROMPTS = 4096  # whose embeddings are kept


class View(NamedTuple):
    """What a model said of one request.

    Parameters
    ----------
    at
        Output tokens that it read.
    shares
        Shape (BINS,): how likely each length is as what was to come then.
    """

    at: int
    shares: FloatArray


class Reader:
    """Reads the texts of requests, and says what is to come; prompts are read once.

    Parameters
    ----------
    model
        Reads.
    """

    def __init__(self, model: LengthModel) -> None:
        self.model = model
        self._prompts: OrderedDict[str, Embeddings] = OrderedDict()

    @property
    def rereads(self) -> bool:
        """Whether it is worth reading a request again as its answer grows."""
        return self.model.description.reads != "prompt"

    def views(self, requests: Sequence[Request], said: Sequence[Said]) -> list[View]:
        """Read what was said of each request."""
        if not requests:
            return []
        prompts = None
        if self.model.description.reads == "apart":
            prompts = self._embedded(requests, said)
        lengths = [request.input_tokens for request in requests]
        shares = likely(self.model.quantiles(said, lengths, prompts))
        return [
            View(one.produced if self.rereads else 0, row)
            for one, row in zip(said, shares, strict=True)
        ]

    def _embedded(self, requests: Sequence[Request], said: Sequence[Said]) -> Embeddings:
        """Return the prompts' embeddings, of which most are known."""
        names = [request.request_id for request in requests]
        fresh = [i for i, name in enumerate(names) if name not in self._prompts]
        if fresh:
            made = self.model.read_prompts([said[i] for i in fresh])
            self._prompts |= {names[i]: row for i, row in zip(fresh, made, strict=True)}
        for name in names:
            self._prompts.move_to_end(name)
        found = np.stack([self._prompts[name] for name in names])
        while len(self._prompts) > _PROMPTS:
            self._prompts.popitem(last=False)
        return found


class Blend:
    """Holds what a model said against what requests of the same class and tenant came to.

    Parameters
    ----------
    history
        Answers alone of whom no model said anything.
    usual
        How likely each length is among the answers that the model was trained on.
    weight
        Finished requests of a class for which the model's own expectation counts.
    """

    def __init__(self, history: History, usual: FloatArray, weight: float) -> None:
        self.history, self._usual, self._weight = history, usual, weight

    def remaining(
        self, requests: Sequence[Request], produced: IntArray, views: Sequence[View | None]
    ) -> FloatArray:
        """Expect so many more tokens, shape (n, 3)."""
        left = self.history.remaining(requests, produced)
        known = [i for i, view in enumerate(views) if view is not None]
        if not known:
            return left
        seen = [view for view in views if view is not None]
        at = np.array([view.at for view in seen], dtype=np.int64)
        shares = np.stack([view.shares for view in seen])
        lengths = np.stack([self._lengths(requests[i]) for i in known])
        shares = weighed(shares, at, lengths, self._usual)
        of_known = [requests[i] for i in known]
        left[known] = allowed(thirds(shares, at, produced[known]), of_known, produced[known])
        return left

    def _lengths(self, request: Request) -> FloatArray:
        return self.history.lengths(request.slo_class, request.tenant, self._usual, self._weight)


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained model reads the prompt, and the answer every `planner.repredict_tokens` tokens.

    Inside of an engine it reads in a thread of its own: a request is planned at once with what
    experience says of its class, and again once it was read.

    Parameters
    ----------
    model
        Folder that `slosched train` wrote, or the name of a model that is shipped.
    encoder
        Folder or hub name of its encoder; by default what the model was trained with.
    runtime
        What computes the encoder: "onnx", "torch", or whatever there is.
    threads
        Cores that the encoder may take (ONNX).
    batch_ms
        Texts are read together as long as that takes no longer.
    prior
        Stands in for what was not read yet, and corrects the model by what comes true.
    prior_weight
        Finished requests of a class for which the model's own expectation counts.
    """

    model: str
    encoder: str | None = None
    runtime: Runtime = "auto"
    threads: int = 1
    batch_ms: float = 50.0
    prior: History = field(default_factory=History)
    prior_weight: float = 50.0

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        for name in ("batch_ms", "prior_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ByEncoder(Learned):
    """A model of lengths, of any head but a ranker."""

    kind: Literal["encoder"] = field(default="encoder", kw_only=True)


@dataclass(frozen=True, slots=True)
class ByRanker(Learned):
    """A model that was trained to rank answers by length."""

    kind: Literal["ranker"] = field(default="ranker", kw_only=True)
