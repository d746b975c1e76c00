"""The search for parameters, by Optuna's TPE sampler."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slosched.core.errors import ConfigError
from slosched.whatif.space import Parameter, Range, Scalar

if TYPE_CHECKING:
    import optuna

NAME = "slosched"
MADE_WITH = "made_with"
SCORES, REFUSED = "scores", "refused"
# With fewer, importance says nothing.
ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """Values that were tried.

    Parameters
    ----------
    number
        In order of asking; 0 is the configuration as it is.
    values
        By path, as they were tried; none of trial 0.
    scores
        Weighted attainment at each load; None where the values do not fit together.
    """

    number: int
    values: Mapping[str, Scalar]
    scores: tuple[float, ...] | None

    @property
    def score(self) -> float:
        """The mean over the loads; -inf if the values do not fit together."""
        return -np.inf if self.scores is None else float(np.mean(self.scores))


@dataclass(frozen=True, slots=True)
class Asked:
    """Values to try next."""

    trial: "optuna.Trial"
    values: Mapping[str, Scalar]


class Study:
    """Trials so far, and what to try next.

    Parameters
    ----------
    space
        What is searched.
    seed
        With the same one and the same scores, the same values are asked for.
    file
        Where trials are kept, so that a search may go on later; None in memory.
    made_with
        What the scores depend on; a file that was made with something else is refused.

    Raises
    ------
    ConfigError
        If Optuna is not installed, or the file is of another study, or of none.
    """

    def __init__(
        self, space: Sequence[Parameter], seed: int, file: Path | None, made_with: dict[str, str]
    ) -> None:
        self._optuna = _optuna()
        self._space, self._seed = space, seed
        with _quiet():
            self._study = self._open(file)
        known = self._study.user_attrs.get(MADE_WITH)
        if known is None:
            self._study.set_user_attr(MADE_WITH, made_with)
        elif known != made_with:
            other = ", ".join(k for k in made_with if known.get(k) != made_with[k])
            raise ConfigError(f"--study {file}: was begun with another {other}; name another file")
        self.close()  # what was being tried when somebody ended it

    @property
    def trials(self) -> list[Trial]:
        """Trials that are done, in order."""
        states = self._optuna.trial.TrialState
        done = [
            t for t in self._study.get_trials(deepcopy=False)
            if t.state == states.COMPLETE or REFUSED in t.user_attrs
        ]  # fmt: skip
        return [
            Trial(
                number,
                self._applied(trial.params) if number else {},
                tuple(trial.user_attrs[SCORES]) if SCORES in trial.user_attrs else None,
            )
            for number, trial in enumerate(done)
        ]

    @property
    def best(self) -> Trial:
        """The best trial, the first of several; ValueError if there is none."""
        return max(self.trials, key=lambda trial: (trial.score, -trial.number))

    def begin(self, values: Mapping[str, Any], scores: Sequence[float]) -> None:
        """Enter the configuration as it is, as trial 0.

        Parameters
        ----------
        values
            Of all parameters; the sampler learns from them if all are in the space.
        """
        inside = all(parameter.has(values.get(parameter.path)) for parameter in self._space)
        distributions = self._distributions() if inside else {}
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params={path: values[path] for path in distributions},
                distributions=distributions,
                value=float(np.mean(scores)),
                user_attrs={SCORES: list(scores)},
            )
        )

    def ask(self, count: int) -> list[Asked]:
        """Suggest so many sets of values at once."""
        # A sampler of its own each time: a study that goes on later asks for the same values.
        entropy = [self._seed, len(self.trials)]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        with _quiet():
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            trials = [self._study.ask(self._distributions()) for _ in range(count)]
        return [Asked(trial, self._applied(trial.params)) for trial in trials]

    def tell(self, asked: Asked, scores: Sequence[float]) -> None:
        """Enter what came of values."""
        asked.trial.set_user_attr(SCORES, list(scores))
        self._study.tell(asked.trial, float(np.mean(scores)))

    def refuse(self, asked: Asked, why: str) -> None:
        """Enter values that do not fit together."""
        asked.trial.set_user_attr(REFUSED, why)
        self._study.tell(asked.trial, state=self._optuna.trial.TrialState.FAIL)

    def close(self) -> None:
        """Give up what was asked for and not told."""
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)

    def importance(self) -> dict[str, float]:
        """Share of each parameter in what makes trials good (PED-ANOVA: Watanabe et al., 2023).

        Empty if there are too few trials to tell.
        """
        states = self._optuna.trial.TrialState
        done = self._study.get_trials(deepcopy=False, states=(states.COMPLETE,))
        varied = [trial for trial in done if trial.params]
        if len(varied) < ENOUGH:
            return {}
        with _quiet():
            study = self._optuna.create_study(direction="maximize")
            study.add_trials(varied)
            evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
            found = self._optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {parameter.path: float(found.get(parameter.path, 0.0)) for parameter in self._space}

    def _open(self, file: Path | None) -> Any:  # noqa: ANN401 - a study of Optuna's
        storage = None
        try:
            if file is not None:
                journal = self._optuna.storages.journal
                storage = journal.JournalStorage(journal.JournalFileBackend(str(file)))
            return self._optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True
            )
        except Exception as error:  # what a strange file makes of Optuna, nobody can list
            raise ConfigError(f"--study {file}: is no study: {error!r}") from error

    def _applied(self, params: Mapping[str, Any]) -> dict[str, Scalar]:
        return {p.path: p.applied(params[p.path]) for p in self._space if p.path in params}

    def _distributions(self) -> dict[str, Any]:
        return {parameter.path: self._distribution(parameter) for parameter in self._space}

    def _distribution(self, parameter: Parameter) -> Any:  # noqa: ANN401 - one of Optuna's
        kinds = self._optuna.distributions
        if not isinstance(parameter, Range):
            return kinds.CategoricalDistribution(parameter.values)
        if parameter.whole:
            return kinds.IntDistribution(int(parameter.low), int(parameter.high), parameter.log)
        return kinds.FloatDistribution(float(parameter.low), float(parameter.high), parameter.log)


def fingerprint(**parts: object) -> dict[str, str]:
    """Name what scores depend on by its parts, each as a short text."""
    from hashlib import blake2b

    return {
        name: blake2b(json.dumps(part, sort_keys=True).encode(), digest_size=8).hexdigest()
        for name, part in parts.items()
    }


def _optuna() -> Any:  # noqa: ANN401 - a module
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tune needs Optuna: pip install 'slosched[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Optuna has to say about itself from the user, who can do nothing about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
