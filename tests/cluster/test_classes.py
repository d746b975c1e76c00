"""Class objects that come, change and go, and who may do what, on a real API server."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.api import ApiError, Object
from tests.cluster.pool import NAMESPACE, Pool, pool

OBJECTIVE = ("llm-d.ai/v1alpha2", "InferenceObjective")
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"


@pytest.mark.usefixtures("compiled")
def test_class_objects_are_in_force_as_they_are_now(tmp_path: Path) -> None:
    async def run() -> None:
        async with pool(tmp_path, engines=1) as running:
            # The shipped ones; and there is no such class yet.
            assert (await running.ask("agents")).served_as == "agents"
            assert (await running.ask("chat")).status == 400

            await running.plane.apply([_objective("chat", ttft_ms=700)], NAMESPACE)
            await running.plane.until(lambda: _status(running, "chat", 200))
            assert (await running.ask("chat")).served_as == "chat"

            # Below 0: who would be late is refused, and within a millisecond everybody would be.
            await running.plane.apply([_objective("chat", -5, e2e_ms=1)], NAMESPACE)
            await running.plane.until(lambda: _status(running, "chat", 429))
            await running.plane.apply([_objective("chat", -5, e2e_ms=60_000)], NAMESPACE)
            await running.plane.until(lambda: _status(running, "chat", 200))

            # One that does not fit is named in the log, and changes nothing.
            await running.plane.apply([_objective("odd", ttft_ms="soon")], NAMESPACE)
            await running.plane.until(lambda: _logged(running, "objective=odd"))
            assert (await running.ask("odd")).status == 400
            for name in ("interactive", "agents", "chat"):
                assert (await running.ask(name)).served_as == name

            await running.api.delete(*OBJECTIVE, "chat", NAMESPACE)
            await running.plane.until(lambda: _status(running, "chat", 400))
            assert (await running.ask("agents")).served_as == "agents"

            await _check_rights(running)

    asyncio.run(run())


async def _check_rights(running: Pool) -> None:
    """Check that the picker's service account may do what it has to, and nothing else."""
    account = running.plane.as_service_account("slosched-picker", NAMESPACE)
    async with account as picker:
        review: Object = {"spec": {"namespace": NAMESPACE}}
        review |= {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        found = (await picker.request("POST", REVIEW, review))["status"]["resourceRules"]
        rules = {
            (group, resource, *rule.get("resourceNames", []), verb)
            for rule in found
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
            if group != "authorization.k8s.io"  # to ask what one may do, as everybody may
        }
        objectives = ("llm-d.ai", "inference.networking.x-k8s.io")
        lease = ("coordination.k8s.io", "leases")
        assert rules == {
            *(("", "pods", verb) for verb in ("list", "watch")),
            *(("discovery.k8s.io", "endpointslices", verb) for verb in ("list", "watch")),
            *(
                ("inference.networking.k8s.io", "inferencepools", "vllm", verb)
                for verb in ("list", "watch")
            ),
            *((g, "inferenceobjectives", verb) for g in objectives for verb in ("list", "watch")),
            (*lease, "create"),
            *((*lease, "slosched-picker-vllm", verb) for verb in ("get", "update")),
        }
        for kind in ("Secret", "ConfigMap"):
            with pytest.raises(ApiError, match=r"403.*forbidden"):
                await picker.find("v1", kind, NAMESPACE)
        with pytest.raises(ApiError, match=r"403.*forbidden"):
            await picker.find("v1", "Pod", "kube-system")
        pod = await running.leader()
        with pytest.raises(ApiError, match=r"403.*cannot delete"):
            await picker.delete("v1", "Pod", pod, NAMESPACE)


def _objective(name: str, priority: int = 0, **said: float | str) -> Object:
    annotations = {f"slosched.dev/{k.replace('_', '-')}": str(v) for k, v in said.items()}
    api_version, kind = OBJECTIVE
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "priority": priority,
            "poolRef": {"group": "inference.networking.k8s.io", "name": "vllm"},
        },
    }


async def _status(running: Pool, slo_class: str, status: int) -> bool:
    return (await running.ask(slo_class)).status == status


async def _logged(running: Pool, text: str) -> bool:
    return text in running.log(await running.leader())
