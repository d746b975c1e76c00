"""Tuning: a search on the first part of a trace, judged by the rest of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

import numpy as np

from slosched.config.document import Document
from slosched.config.load import build
from slosched.config.overrides import Override, change
from slosched.config.schema import Settings, dump
from slosched.core.errors import ConfigError
from slosched.core.request import TracedRequest
from slosched.core.types import FloatArray
from slosched.sim.records import Records
from slosched.whatif.bootstrap import Interval, paired_interval
from slosched.whatif.grid import check
from slosched.whatif.held_out import divide
from slosched.whatif.space import Parameter, Scalar, current
from slosched.whatif.study import Asked, Study, Trial
from slosched.whatif.task import Engine, serve
from slosched.whatif.workers import Workers

# Values that are asked for at once, whatever the number of processes: what is asked for next
# depends on what is known, and must not depend on who is faster.
BATCH = 4
Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is tuned, and on which requests.

    Parameters
    ----------
    document
        The configuration.
    space
        What is varied of it.
    train, held_out
        By load; the same requests at each.
    seed
        Of solvers, of what is drawn in simulations, and of the bootstrap.
    """

    document: Document
    space: Sequence[Parameter]
    train: Mapping[float, Sequence[TracedRequest]]
    held_out: Mapping[float, Sequence[TracedRequest]]
    seed: int

    @classmethod
    def on(
        cls,
        document: Document,
        space: Sequence[Parameter],
        served: Mapping[float, Sequence[TracedRequest]],
        share: float,
        seed: int,
    ) -> Self:
        """Divide the requests at each load; TraceError if they are too few."""
        parts = {load: divide(trace, share) for load, trace in served.items()}
        train = {load: part.train for load, part in parts.items()}
        held_out = {load: part.held_out for load, part in parts.items()}
        return cls(document, space, train, held_out, seed)

    @property
    def incumbent(self) -> dict[str, Any]:
        """The configuration's own values of all parameters; None where it has none."""
        plain = dump(self.settings({}))
        return {parameter.path: current(plain, parameter.path) for parameter in self.space}

    def settings(self, values: Mapping[str, Scalar]) -> Settings:
        """Build the configuration with some values; ConfigError if they do not fit together."""
        return build(self.document, changes(values))

    def search(
        self, study: Study, trials: int, seconds: float | None, workers: Workers, tick: Tick
    ) -> Iterator[None]:
        """Try values until there are so many trials, or until the time is over; yield after each.

        Parameters
        ----------
        trials
            In all, with those that the study has already, and the configuration as it is.
        """
        until = np.inf if seconds is None else monotonic() + seconds
        if not study.trials:
            ((_, scores),) = self._scored([{}], workers, tick)
            study.begin(self.incumbent, scores)
            yield
        while (left := trials - len(study.trials)) > 0 and monotonic() < until:
            yield from self._try(study, study.ask(min(BATCH, left)), workers, tick)

    def compare(self, trial: Trial, workers: Workers, tick: Tick) -> "Comparison":
        """Serve the held-out part as configured, and with the values of a trial."""
        both = [self._offline({}), self._offline(trial.values)]
        tasks = [Engine(one, part) for one in both for part in self.held_out.values()]
        records = workers.all(serve, tasks, tick)
        before, after = records[: len(self.held_out)], records[len(self.held_out) :]
        weight = np.array([t.request.slo.weight for t in before[0].trace])
        interval = paired_interval(_met(before), _met(after), weight, self.seed)
        return Comparison(before, after, interval)

    def _try(
        self, study: Study, asked: Sequence[Asked], workers: Workers, tick: Tick
    ) -> Iterator[None]:
        """Tell the study what comes of values; what was tried before is not tried again."""
        known = {_key(trial.values): trial.scores for trial in study.trials}
        fresh: list[Asked] = []
        for one in asked:
            try:
                scores = known.get(_key(one.values))
                if scores is None:
                    check(self.settings(one.values))
                    fresh.append(one)
                    continue
                study.tell(one, scores)
            except ConfigError as error:
                study.refuse(one, str(error))
            yield
        for i, found in self._scored([one.values for one in fresh], workers, tick):
            study.tell(fresh[i], found)
            yield

    def _scored(
        self, tried: Sequence[Mapping[str, Scalar]], workers: Workers, tick: Tick
    ) -> Iterator[tuple[int, list[float]]]:
        """Yield (index, weighted attainment at each load) as values are done on the first part."""
        parts = list(self.train.values())
        offline = [self._offline(values) for values in tried]
        tasks = [Engine(settings, part) for settings in offline for part in parts]
        found: list[dict[int, float]] = [{} for _ in tried]
        for number, records in workers.as_done(serve, tasks, tick):
            i, load = divmod(number, len(parts))
            found[i][load] = weighted_attainment(records)
            if len(found[i]) == len(parts):
                yield i, [found[i][k] for k in range(len(parts))]

    def _offline(self, values: Mapping[str, Scalar]) -> Settings:
        return self.settings(values).offline(self.seed)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The held-out part as configured and as tuned, at each load.

    Parameters
    ----------
    interval
        What tuning gains in weighted attainment, in the mean over the loads.
    """

    before: Sequence[Records]
    after: Sequence[Records]
    interval: Interval

    @property
    def verdict(self) -> str:
        """`better` if that is more than chance, `unsure` if it may be chance, `no better` else."""
        if self.interval.low > 0:
            return "better"
        return "unsure" if self.interval.difference > 0 else "no better"


def changes(values: Mapping[str, Scalar]) -> list[Override]:
    """Put values over those of a configuration."""
    return [change(path, value, path) for path, value in values.items()]


def weighted_attainment(records: Records) -> float:
    """Share of the weight of all requests that is in those that met their SLO."""
    weight = np.array([traced.request.slo.weight for traced in records.trace])
    return float((weight * records.attained).sum() / weight.sum())


def _met(at_loads: Sequence[Records]) -> FloatArray:
    """Return at which share of the loads each request met its SLO, shape (n,)."""
    met: FloatArray = np.mean([records.attained for records in at_loads], axis=0)
    return met


def _key(values: Mapping[str, Scalar]) -> tuple[tuple[str, str], ...]:
    return tuple((path, repr(value)) for path, value in sorted(values.items()))
