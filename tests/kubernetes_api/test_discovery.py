"""Pods as replicas, from the API to the queue."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from slosched_server.kubernetes.api import ClusterError
from slosched_server.kubernetes.kinds import PODS, POOLS, SLICES, Kind
from slosched_server.kubernetes.metrics import KubernetesState
from tests.kubernetes_api.discovering import discovering, fake
from tests.kubernetes_api.fake_api import FakeApi
from tests.kubernetes_api.objects import POOL, Verbs, endpoint_slice, pod, pool, status, until


def test_a_pod_takes_part_from_its_readiness_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(PODS, pod("a", "10.0.0.1", ready=False))
            await verbs.create(PODS, pod("b", "10.0.0.2"))
            await asyncio.sleep(0.1)
            assert not kept.cluster.synced  # as there is no pool
            await verbs.create(POOLS, pool())
            await kept.cluster.wait_synced()
            await until(lambda: kept.replicas == {"b": "http://10.0.0.2:8000"})
            await verbs.patch(PODS, "a", {"status": status("10.0.0.1", ready=True)})
            await until(lambda: set(kept.replicas) == {"a", "b"})
            await verbs.patch(PODS, "a", {"status": status("10.0.0.1", ready=False)})
            await until(lambda: set(kept.replicas) == {"b"})
            await verbs.delete(PODS, "b")
            await until(lambda: not kept.replicas)

    asyncio.run(main())


def test_annotations_say_how_an_engine_differs(tmp_path: Path) -> None:
    """What does not fit is logged by the Pod's name, and it takes part as others do."""

    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            said = {"slosched.dev/max-num-seqs": "7", "slosched.dev/max-seqs": "9"}
            await verbs.create(PODS, pod("fits", "10.0.0.1", annotations=said))
            said = {"slosched.dev/max-num-seqs": "7", "slosched.dev/profile": "no-such"}
            with structlog.testing.capture_logs() as logs:
                await verbs.create(PODS, pod("wrong", "10.0.0.2", annotations=said))
                await verbs.create(POOLS, pool())
                await until(lambda: set(kept.replicas) == {"fits", "wrong"})
            seqs = {one.name: one.limits.max_num_seqs for one in kept.dispatcher.replicas}
            assert seqs["fits"] == 7
            assert seqs["wrong"] not in (7, 9)
            wrong = {log["pod"]: log["reason"] for log in logs if "pod" in log}
            assert "slosched.dev/max-seqs" in wrong["fits"]
            assert "no-such" in wrong["wrong"]

    asyncio.run(main())


def test_a_new_pod_under_an_old_name_waits_for_nobody(tmp_path: Path) -> None:
    """A StatefulSet's: the old one's requests may hang until somebody's patience ends."""

    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(POOLS, pool())
            await verbs.create(PODS, pod("vllm-0", "10.0.0.1"))
            await until(lambda: set(kept.replicas) == {"vllm-0"})
            (old,) = kept.dispatcher.replicas
            old.give("held", 10)
            await verbs.delete(PODS, "vllm-0")
            await until(lambda: not kept.replicas)
            await verbs.create(PODS, pod("vllm-0", "10.0.0.2"))
            fresh = {"vllm-0@10.0.0.2": "http://10.0.0.2:8000"}
            await until(lambda: kept.replicas == fresh)
            old.take("held")
            await until(lambda: len(kept.dispatcher.replicas) == 1)
            await verbs.create(PODS, pod("vllm-1", "10.0.0.3"))
            await until(lambda: len(kept.replicas) == 2)
            assert fresh.items() <= kept.replicas.items()

    asyncio.run(main())


def test_what_a_slice_denies_gets_nothing_until_it_does_no_more(tmp_path: Path) -> None:
    """Neither stays with a new Pod of the name, nor after a slice has gone."""

    async def main() -> None:
        async with fake(tmp_path) as (server, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(POOLS, pool())
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await verbs.create(PODS, pod("b", "10.0.0.2"))
            await until(lambda: set(kept.replicas) == {"a", "b"})
            uid = uid_of(server, "a")
            await verbs.create(SLICES, endpoint_slice("a", uid, serving=False))
            await until(lambda: set(kept.replicas) == {"b"})
            change = endpoint_slice("a", uid, serving=True)["endpoints"]
            await verbs.patch(SLICES, "vllm-a", {"endpoints": change})
            await until(lambda: set(kept.replicas) == {"a", "b"})
            change = endpoint_slice("a", uid, serving=True, terminating=True)["endpoints"]
            await verbs.patch(SLICES, "vllm-a", {"endpoints": change})
            await until(lambda: set(kept.replicas) == {"b"})
            await verbs.delete(PODS, "a")
            await verbs.create(PODS, pod("a", "10.0.0.3"))
            await until(lambda: set(kept.replicas.values()) >= {"http://10.0.0.3:8000"})
            await verbs.create(SLICES, endpoint_slice("b", uid_of(server, "b"), serving=False))
            await until(lambda: set(kept.replicas) == {"a"})
            await verbs.delete(SLICES, "vllm-b")
            await until(lambda: set(kept.replicas) == {"a", "b"})

    asyncio.run(main())


@pytest.mark.parametrize("there", [False, True])
def test_without_slices_pods_say_enough(tmp_path: Path, *, there: bool) -> None:
    """Where the cluster has none, or does not let them be seen, which is a failure."""

    async def main() -> None:
        async with fake(tmp_path) as (server, api, verbs):
            if there:
                server.forbidden.add(SLICES)
            else:
                server.kinds.remove(SLICES)
            await verbs.create(POOLS, pool())
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            async with discovering(api, tmp_path) as kept:
                await kept.cluster.wait_synced()
                await until(lambda: set(kept.replicas) == {"a"})
                await until(lambda: len(server.asked) > 20)
                failures = kept.cluster.tally.failures
                assert set(failures) == ({SLICES.called} if there else set())

    asyncio.run(main())


def uid_of(server: FakeApi, name: str) -> str:
    """Return the uid of a Pod; "" of one that is not there."""
    found = (item["metadata"] for item in server.items(PODS))
    return next((str(its["uid"]) for its in found if its["name"] == name), "")


def test_a_pool_that_selects_others_and_one_that_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(POOLS, pool())
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await verbs.create(PODS, pod("b", "10.0.0.2", labels={"app": "other"}))
            await until(lambda: set(kept.replicas) == {"a"})
            await verbs.patch(POOLS, POOL, {"spec": pool({"app": "other"}, [1, 2])["spec"]})
            await until(lambda: set(kept.replicas) == {"b:1", "b:2"})
            # One that is wrong is as it was.
            await verbs.patch(POOLS, POOL, {"spec": {"selector": None}})
            await verbs.create(PODS, pod("c", "10.0.0.3", labels={"app": "other"}))
            await until(lambda: set(kept.replicas) == {"b:1", "b:2", "c:1", "c:2"})
            await verbs.delete(POOLS, POOL)
            await until(lambda: not kept.replicas)

    asyncio.run(main())


def test_an_edit_of_what_engines_are_by_default_reaches_pods(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs), discovering(api, tmp_path) as kept:
            await verbs.create(POOLS, pool())
            await verbs.create(PODS, pod("a", "10.0.0.1"))
            await until(lambda: set(kept.replicas) == {"a"})
            kept.control.edit(["engine.max_num_seqs=3"])
            await until(lambda: [one.limits.max_num_seqs for one in kept.dispatcher.ready] == [3])

    asyncio.run(main())


def test_what_prometheus_sees(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (server, api, verbs), discovering(api, tmp_path) as kept:
            registry = CollectorRegistry()
            registry.register(KubernetesState(kept.cluster, None))
            assert b"slosched_kubernetes_synced 0.0" in generate_latest(registry)
            await verbs.create(POOLS, pool())
            await kept.cluster.wait_synced()
            await until(lambda: server.watched == 5)
            server.cut()
            await until(lambda: kept.cluster.tally.relists["pods"] == 2)
            page = generate_latest(registry)
            assert b"slosched_kubernetes_synced 1.0" in page
            assert b'slosched_kubernetes_relists_total{kind="pods"} 2.0' in page
            assert b'slosched_kubernetes_watch_failures_total{kind="pods"} 1.0' in page
            assert b"slosched_picker_leading 1.0" in page

    asyncio.run(main())


NAMES = st.sampled_from(["a", "b", "c"])
IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.3"])
APPS = st.sampled_from(["vllm", "other"])
STEPS = st.one_of(
    st.tuples(st.just("create"), NAMES, IPS, st.booleans(), APPS),
    st.tuples(st.just("status"), NAMES, IPS, st.booleans()),
    st.tuples(st.just("label"), NAMES, APPS),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("slice"), NAMES, st.booleans(), st.booleans()),
    st.tuples(st.just("unslice"), NAMES),
    st.tuples(st.just("select"), APPS, st.sampled_from([(8000,), (8000, 8001)])),
    st.tuples(st.sampled_from(["cut", "expire", "fail", "freeze"])),
    st.just(("pause",)),
)


async def disturb(server: FakeApi, what: str) -> None:
    """Let watches have trouble, or some time."""
    match what:
        case "cut" | "expire":
            getattr(server, what)()
        case "fail":
            server.failures += 2
        case "freeze":
            server.frozen = True
        case _:
            await asyncio.sleep(0.03)


async def step(server: FakeApi, verbs: Verbs, what: str, *given: Any) -> None:
    """Do one thing; what cannot be done is not."""
    failures, server.failures = server.failures, 0  # these are for whoever watches
    try:
        match what:
            case "create":
                name, ip, ready, app = given
                await verbs.create(PODS, pod(name, ip, ready=ready, labels={"app": app}))
            case "status":
                await verbs.patch(PODS, given[0], {"status": status(given[1], ready=given[2])})
            case "label":
                await verbs.patch(PODS, given[0], {"metadata": {"labels": {"app": given[1]}}})
            case "delete":
                await verbs.delete(PODS, given[0])
            case "slice":
                name, serving, terminating = given
                said = {"serving": serving, "terminating": terminating}
                await put(verbs, SLICES, endpoint_slice(name, uid_of(server, name), **said))
            case "unslice":
                await verbs.delete(SLICES, f"vllm-{given[0]}")
            case "select":
                made = pool({"app": given[0]}, given[1])
                await verbs.patch(POOLS, POOL, {"spec": made["spec"]})
    except ClusterError as error:
        assert error.status in (404, 409)  # noqa: PT017 - of things that are not, or are, there
    server.failures = failures


async def put(verbs: Verbs, kind: Kind, item: dict[str, Any]) -> None:
    """Make an object, or change the one of its name."""
    try:
        await verbs.create(kind, item)
    except ClusterError:
        await verbs.patch(kind, item["metadata"]["name"], item)


def wanted(server: FakeApi) -> set[str]:
    """Return where replicas are to be, of the objects as they are in the end."""
    of = server.items
    spec = of(POOLS)[0]["spec"]
    denied = {
        endpoint["targetRef"]["uid"]
        for item in of(SLICES)
        for endpoint in item["endpoints"]
        if endpoint["conditions"] != {"serving": True, "terminating": False}
    }
    return {
        f"http://{item['status']['podIP']}:{port['number']}"
        for item in of(PODS)
        for port in spec["targetPorts"]
        if item["metadata"]["labels"] == spec["selector"]["matchLabels"]
        and item["status"]["conditions"][0]["status"] == "True"
        and item["metadata"]["uid"] not in denied
    }


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=20))
def test_replicas_are_those_of_the_objects_in_the_end(steps: list[tuple[Any, ...]]) -> None:
    """Whatever changed on the way, and whatever watches were cut, mute or too late (law 19)."""

    async def main(folder: Path) -> None:
        async with fake(folder) as (server, api, verbs):
            await verbs.create(POOLS, pool())
            for number, name in enumerate("abc"):
                await verbs.create(PODS, pod(name, f"10.0.0.{number}"))
            async with discovering(api, folder) as kept:
                await until(lambda: server.watched == 5)
                for one in steps:
                    await (step(server, verbs, *one) if len(one) > 1 else disturb(server, *one))
                if server.frozen:  # by then a watch has missed what no watch may miss
                    server.frozen = False
                    server.cut()

                def same() -> bool:
                    urls, want = sorted(kept.replicas.values()), wanted(server)
                    return set(urls) == want and (len(urls) == len(want) or _shared(server))

                await until(same)
                await asyncio.sleep(0.02)
                assert same()

    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


def _shared(server: FakeApi) -> bool:
    """Whether two Pods have one address, which no cluster gives them."""
    ips = [item["status"]["podIP"] for item in server.items(PODS)]
    return len(set(ips)) < len(ips)
