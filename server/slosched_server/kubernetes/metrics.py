"""What Prometheus sees of discovery, and of who leads."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slosched_server.kubernetes.cluster import Cluster
from slosched_server.kubernetes.election import Election


class KubernetesState(Collector):
    """A cluster and an election at the moment of asking.

    Parameters
    ----------
    cluster
        None where replicas are configured.
    election
        None where there is but one, which always leads.
    """

    def __init__(self, cluster: Cluster | None, election: Election | None) -> None:
        self._cluster, self._election = cluster, election

    def collect(self) -> Iterator[Metric]:
        """Yield what there is now."""
        if self._cluster is not None:
            yield from _discovery(self._cluster)
        leading = self._election is None or self._election.in_office
        text = "1 if this picker is the one that is asked."
        yield GaugeMetricFamily("slosched_picker_leading", text, float(leading))


def _discovery(cluster: Cluster) -> Iterator[Metric]:
    for name, text, counted in (
        ("relists", "Lists of a kind of objects, at first and after lost watches.", "relists"),
        ("watch_failures", "Lists and watches that failed.", "failures"),
    ):
        family = CounterMetricFamily(f"slosched_kubernetes_{name}", text, labels=("kind",))
        for kind, times in getattr(cluster.tally, counted).items():
            family.add_metric((kind,), times)
        yield family
    text = "1 once all objects of the pool were known, and in force."
    yield GaugeMetricFamily("slosched_kubernetes_synced", text, float(cluster.synced))
