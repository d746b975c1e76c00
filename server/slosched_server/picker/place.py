"""Where a picker runs: its ports, and the cluster whose pool it serves."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class InCluster:
    """A pool of a Kubernetes cluster.

    Parameters
    ----------
    pool, namespace
        The InferencePool's.
    kubeconfig
        How the cluster is reached; None for a picker that runs in it.
    context
        Of the kubeconfig; its current one by default.
    identity
        By which this picker stands for election; "" for one that is alone, and always leads.
    """

    pool: str
    namespace: str
    kubeconfig: Path | None = None
    context: str | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picker runs.

    Parameters
    ----------
    host
        That all ports are on.
    port
        For Envoy.
    health_port
        For gRPC health checks alone.
    metrics_port
        For metrics, the live page and the state of configuration and replicas, by HTTP.
    cluster
        None where the configuration names the replicas.
    """

    host: str = "0.0.0.0"  # noqa: S104 - Envoy is elsewhere
    port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    cluster: InCluster | None = None
