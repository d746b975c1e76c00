"""How the parts of the control plane are started: the least that is real, and quick to notice."""

from pathlib import Path

from tests.cluster.certificates import Certificates

# Those that the shipped objects need. No endpoints: they refuse loopback addresses. No autoscaling:
# it needs a metrics server.
CONTROLLERS = (
    "deployment", "replicaset", "statefulset", "daemonset", "job", "disruption", "garbagecollector",
    "namespace", "nodelifecycle", "podgc", "root-ca-cert-publisher", "serviceaccount",
)  # fmt: skip
# A node that is silent for so long is lost; its pods are evicted so much later. By default 40 s and
# 300 s.
NODE_SILENT_S = 5
NODE_EVICTED_S = 2


def etcd(folder: Path, address: str) -> list[str]:
    """Give its command; it keeps its state in a folder."""
    return [
        "etcd",
        f"--data-dir={folder}",
        f"--listen-client-urls=http://{address}:2379",
        f"--advertise-client-urls=http://{address}:2379",
        f"--listen-peer-urls=http://{address}:2380",
        f"--initial-advertise-peer-urls=http://{address}:2380",
        f"--initial-cluster=default=http://{address}:2380",
        "--logger=zap",
    ]


def api_server(binaries: Path, certificates: Certificates, address: str) -> list[str]:
    """Give its command: everybody has a certificate or a token, and only the rights of RBAC."""
    certificate, key = certificates.server
    account_certificate, account_key = certificates.service_accounts
    return [
        f"{binaries}/kube-apiserver",
        f"--etcd-servers=http://{address}:2379",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        "--secure-port=6443",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        f"--client-ca-file={certificates.ca}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={account_certificate}",
        f"--service-account-signing-key-file={account_key}",
        # In favour of v1, which tests define: one group cannot be of both kinds.
        "--runtime-config=discovery.k8s.io/v1beta1=false",
        # Tokens as they are since 1.21: of one pod, and with an end.
        "--feature-gates=BoundServiceAccountTokenVolume=true",
        f"--default-not-ready-toleration-seconds={NODE_EVICTED_S}",
        f"--default-unreachable-toleration-seconds={NODE_EVICTED_S}",
    ]


def controller_manager(
    binaries: Path, certificates: Certificates, address: str, kubeconfig: Path, silent_s: int
) -> list[str]:
    """Give its command."""
    return [
        f"{binaries}/kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--bind-address={address}",
        "--port=0",
        "--leader-elect=false",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--root-ca-file={certificates.ca}",
        f"--cert-dir={certificates.ca.parent}/controller-manager",
        "--feature-gates=BoundServiceAccountTokenVolume=true",
        "--node-monitor-period=500ms",
        f"--node-monitor-grace-period={silent_s}s",
        "--node-startup-grace-period=10s",
        # At first no node is lost faster than one in ten seconds.
        "--node-eviction-rate=10",
        "--secondary-node-eviction-rate=10",
    ]


def scheduler(binaries: Path, address: str, kubeconfig: Path) -> list[str]:
    """Give its command."""
    return [
        f"{binaries}/kube-scheduler",
        f"--kubeconfig={kubeconfig}",
        f"--bind-address={address}",
        "--port=0",
        f"--cert-dir={kubeconfig.parent}/scheduler",
        "--leader-elect=false",
    ]
