"""Who leads: never two at a time, and always one again."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slosched_server.kubernetes.api import ClusterError
from slosched_server.kubernetes.election import Election, ElectionTimes
from slosched_server.kubernetes.kinds import LEASES
from slosched_server.kubernetes.leases import ApiLeases, Leases
from tests.engines.virtual_time import VirtualTimeLoop
from tests.kubernetes_api.discovering import fake
from tests.kubernetes_api.fake_lease import FakeLease, Line, Trouble
from tests.kubernetes_api.objects import NAMESPACE, until

FINE = Trouble()
LEASE = "slosched-picker-llama"
QUICK = ElectionTimes(duration_s=0.6, renew_s=0.4, retry_s=0.05)


class Candidate:
    """Stands for election, and notes when it was told to lead."""

    def __init__(self, leases: Leases, name: str, times: ElectionTimes | None = None) -> None:
        self.told: list[tuple[float, bool]] = []
        self.election = Election(leases, name, self._changed, times)
        self._task = asyncio.create_task(self.election.run())

    @property
    def leads(self) -> bool:
        return self.election.leading

    def kill(self) -> None:
        """Stop it as a machine does that fails: nobody hears of it."""
        self.election._until = float("-inf")
        self.election._told = False
        self._task.cancel()

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _changed(self, leading: bool) -> None:
        self.told.append((asyncio.get_running_loop().time(), leading))


def in_virtual_time(story: object) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story)  # type: ignore[arg-type]


LATE = st.sampled_from([0.0, 0.0, 0.0, 0.7, 2.9, 3.9, 9.0])
TROUBLES = st.one_of(
    st.builds(Trouble, LATE, LATE),
    st.builds(Trouble, LATE, LATE, st.sampled_from(["call", "answer"])),
    st.builds(Trouble, st.floats(0, 12), st.floats(0, 12)),
)


@settings(max_examples=150)
@given(
    st.lists(st.lists(TROUBLES, min_size=4, max_size=25), min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40)), max_size=3),
)
def test_never_two_lead_and_in_the_end_one_does(
    troubles: list[list[Trouble]], stops: list[tuple[int, float]]
) -> None:
    """However late or lost calls and answers are, longer than all deadlines, too (law 20).

    Some stop cleanly meanwhile. Once there is no more trouble, one of those left leads soon.
    """

    async def story() -> None:
        server, clock = FakeLease(), asyncio.get_running_loop().time
        ways: Sequence[Iterator[Trouble]] = [iter([*of]) for of in troubles]
        there = [
            Candidate(Line(server, lambda way=way: next(way, FINE)), f"picker-{number}")  # type: ignore[misc]
            for number, way in enumerate(ways)
        ]
        leaving = sorted(((at, n) for n, at in stops if n < len(there) - 1), reverse=True)
        while clock() < 90:
            assert sum(one.leads for one in there) <= 1
            while leaving and leaving[-1][0] <= clock():
                await there[leaving.pop()[1]].stop()
            await asyncio.sleep(0.05)
        for way in ways:
            for _ in way:
                pass  # no more trouble
        times = ElectionTimes()
        ends = clock() + 24.0 + 2 * times.renew_s + times.duration_s + 2 * times.retry_s
        while clock() < ends:
            assert sum(one.leads for one in there) <= 1
            await asyncio.sleep(0.05)
        assert sum(one.leads for one in there) == 1
        for one in there:
            await one.stop()
            assert [leading for _, leading in one.told] == [True, False] * (len(one.told) // 2)

    in_virtual_time(story())


def test_whoever_stops_lets_the_next_one_lead_at_once() -> None:
    async def story() -> None:
        server = FakeLease()
        one, two = (Candidate(Line(server, repeat(FINE).__next__), n) for n in ("one", "two"))
        await asyncio.sleep(10)
        assert (one.leads, two.leads) == (True, False)
        await one.stop()
        stopped = asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        assert two.leads
        assert two.told[0][0] - stopped <= 1.2
        await two.stop()

    in_virtual_time(story())


@pytest.mark.parametrize("later", [0.1 * step for step in range(12)])
def test_whoever_dies_is_followed_as_soon_as_the_lease_is_free(later: float) -> None:
    """Six seconds after it was last seen, which can be 1.2 after it was written; 0.2 is chance.

    And whoever comes back under the name that leads, as a container does, leads at once.
    """

    async def story() -> None:
        server = FakeLease()
        one, two = (Candidate(Line(server, repeat(FINE).__next__), n) for n in ("one", "two"))
        await asyncio.sleep(10 + later)
        one.kill()
        died = asyncio.get_running_loop().time()
        await asyncio.sleep(12)
        assert two.leads
        assert 5 < two.told[0][0] - died <= 7.401
        two.kill()
        again = Candidate(Line(server, repeat(FINE).__next__), "two")
        await asyncio.sleep(0.1)
        assert again.leads
        await again.stop()

    in_virtual_time(story())


def test_whoever_cannot_renew_leads_no_more_before_another_may_take_over() -> None:
    """The call hangs. It leaves its office once it sees that another one leads."""

    async def story() -> None:
        server, trouble = FakeLease(), FINE
        one = Candidate(Line(server, lambda: trouble), "one")
        await asyncio.sleep(5)
        assert one.leads
        trouble = Trouble(there_s=1000.0)
        two = Candidate(Line(server, repeat(FINE).__next__), "two")
        await asyncio.sleep(4.0)
        assert not one.leads
        assert one.election.in_office
        await asyncio.sleep(16)
        assert two.leads
        trouble = FINE
        await asyncio.sleep(6)
        assert not one.election.in_office
        assert [leading for _, leading in one.told] == [True, False]
        one.kill()
        await two.stop()

    in_virtual_time(story())


def test_while_the_api_is_away_whoever_led_goes_on() -> None:
    """Nobody else can take over, and requests are to be served."""

    async def story() -> None:
        server, trouble = FakeLease(), FINE
        one, two = (Candidate(Line(server, lambda: trouble), n) for n in ("one", "two"))
        await asyncio.sleep(5)
        trouble = Trouble(lost="call")
        await asyncio.sleep(60)
        assert (one.leads, two.leads) == (False, False)
        assert (one.election.in_office, two.election.in_office) == (True, False)
        trouble = FINE
        await asyncio.sleep(8)
        assert sum(candidate.leads for candidate in (one, two)) == 1
        assert sum(candidate.election.in_office for candidate in (one, two)) == 1
        for candidate in (one, two):
            await candidate.stop()

    in_virtual_time(story())


def test_whoever_stood_still_leaves_its_office_before_it_does_anything_else() -> None:
    """As a machine that was paused: another one may have led for long."""

    async def story(during_s: float) -> None:
        server, trouble, loop = FakeLease(), FINE, asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        one = Candidate(Line(server, lambda: trouble), "one")
        await asyncio.sleep(5)
        assert one.election.in_office
        trouble = Trouble(there_s=0.3, back_s=0.3)
        await asyncio.sleep(during_s)
        loop.stand_still(20.0)
        await asyncio.sleep(0.1)
        assert not one.election.in_office
        await asyncio.sleep(3)
        assert one.leads
        await one.stop()

    for during_s in (0.0, 0.5, 1.2, 2.0):  # asleep, and in the middle of a call
        in_virtual_time(story(during_s))


def test_a_lease_that_somebody_deletes_does_not_make_two_lead() -> None:
    async def story() -> None:
        server = FakeLease()
        cut_off = Trouble(lost="call")
        trouble = FINE
        one = Candidate(Line(server, lambda: trouble), "one")
        two = Candidate(Line(server, repeat(FINE).__next__), "two")
        await asyncio.sleep(5)
        assert one.leads
        trouble = cut_off  # it does not hear of it
        server.lease = None
        while not two.leads:
            assert not (one.leads and two.leads)
            await asyncio.sleep(0.05)
        assert not one.leads
        await one.stop()
        await two.stop()

    in_virtual_time(story())


def test_times_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry_s < renew_s < duration_s"):
        ElectionTimes(duration_s=4, renew_s=6)


def test_a_lease_of_the_api(tmp_path: Path) -> None:
    """Taken, renewed, held against another, let go, as kubectl shows it."""

    async def main() -> None:
        async with fake(tmp_path) as (_, api, verbs):
            leases = ApiLeases(api, NAMESPACE, LEASE)
            one = Candidate(leases, "one", QUICK)
            await until(lambda: one.leads)
            first = (await leases.read() or {})["spec"]
            assert first["holderIdentity"] == "one"
            two = Candidate(leases, "two", QUICK)
            for _ in range(20):
                spec = (await leases.read() or {})["spec"]
                if spec["renewTime"] != first["renewTime"]:
                    break
                await asyncio.sleep(0.05)
            assert spec["renewTime"] > first["renewTime"]
            assert spec["acquireTime"] == first["acquireTime"]
            # Somebody else writes to it: whoever leads finds out, and goes on.
            await verbs.patch(LEASES, LEASE, {"metadata": {"labels": {"seen": "yes"}}})
            await one.stop()
            await until(lambda: two.leads)
            spec = (await leases.read() or {})["spec"]
            assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)
            await two.stop()
            assert (await leases.read() or {})["spec"]["holderIdentity"] == ""

    asyncio.run(main())


def test_a_stale_write_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake(tmp_path) as (_, api, _verbs):
            leases = ApiLeases(api, NAMESPACE, LEASE)
            assert await leases.read() is None
            before = await leases.create({"holderIdentity": "one"})
            with pytest.raises(ClusterError) as refused:
                await leases.create({"holderIdentity": "two"})
            assert refused.value.status == 409
            await leases.replace(before, {"holderIdentity": "two"})
            with pytest.raises(ClusterError) as refused:
                await leases.replace(before, {"holderIdentity": "one"})
            assert refused.value.status == 409

    asyncio.run(main())
