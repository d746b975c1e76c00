"""Reloads of the configuration as Prometheus sees them."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from slosched_server.control import Control


class ConfigReloads(Collector):
    """How often the configuration's files were read anew, by what became of it."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        """Yield what there is now."""
        text = "Configuration files read anew: applied, or refused as they did not fit."
        reloads = CounterMetricFamily("slosched_config_reloads", text, labels=("outcome",))
        for outcome, times in self._control.reloads.items():
            reloads.add_metric((outcome,), times)
        yield reloads
