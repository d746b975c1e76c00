"""Records of traces as the requests that settings make of them."""

from collections.abc import Sequence

from slosched.config.schema import Settings
from slosched.core.request import TracedRequest
from slosched.traces import TraceRecord
from slosched.traces.workload import build


def requests(
    records: Sequence[Sequence[TraceRecord]], settings: Settings, load: float, seed: int
) -> list[TracedRequest]:
    """Merge records by time, and give each a class and an arrival.

    Parameters
    ----------
    records
        Of each trace, in order of time.
    load
        Divides all times: 2 brings the same requests in half the time.
    seed
        Draws classes and arrivals.

    Raises
    ------
    TraceError
        If a record names an unknown class, or two have the same id.
    """
    return build(
        records,
        settings.slo_classes(),
        settings.tagger().default_class,
        rules=settings.workload.assign,
        arrivals=settings.workload.arrivals,
        load=load,
        seed=seed,
    )
