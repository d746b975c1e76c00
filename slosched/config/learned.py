"""Builds learned predictors: at once in virtual time, in a thread of its own beside an engine."""

from dataclasses import replace
from functools import cache, partial

from slosched.core.errors import ConfigError, ModelError
from slosched.predictors.at_once import AtOnce
from slosched.predictors.background import Background
from slosched.predictors.encoder import Runtime
from slosched.predictors.folder import describe, locate
from slosched.predictors.learned import Blend, ByRanker, Learned, Reader
from slosched.predictors.memo import Memo
from slosched.predictors.model import LengthModel, open_model


def at_once(learned: Learned) -> AtOnce:
    """Build a predictor that reads whenever it is asked; ConfigError if there is no such model."""
    _check(learned)
    try:
        model = _opened(learned.model, learned.encoder, learned.runtime, learned.threads)
    except ModelError as error:
        raise ConfigError(f"predictor.model: {error}") from None
    history = replace(learned.prior)
    return AtOnce(Reader(model), Blend(history, model.usual, learned.prior_weight))


def background(learned: Learned, every: int) -> Background:
    """Build a predictor that reads in a thread; ConfigError if there is no such model.

    The model is loaded in the thread, too: an engine does not wait for it.
    """
    _check(learned)
    arguments = (learned.model, learned.encoder, learned.runtime, learned.threads)
    return Background(
        partial(_reader, *arguments),
        replace(learned.prior),
        learned.prior_weight,
        every=every,
        batch_ms=learned.batch_ms,
    )


def _reader(model: str, encoder: str | None, runtime: Runtime, threads: int) -> Reader:
    return Reader(open_model(locate(model), encoder, runtime, threads))


@cache  # simulations of a grid share it, and what it has read
def _opened(model: str, encoder: str | None, runtime: Runtime, threads: int) -> LengthModel:
    opened = open_model(locate(model), encoder, runtime, threads)
    return replace(opened, encoder=Memo(opened.encoder))


def _check(learned: Learned) -> None:
    try:
        description = describe(locate(learned.model))
    except ModelError as error:
        raise ConfigError(f"predictor.model: {error}") from None
    if isinstance(learned, ByRanker) and description.head != "ranking":
        raise ConfigError(
            f"predictor.model: {learned.model} has a head of {description.head}, which is no "
            "ranker: use predictor.kind: encoder"
        )
