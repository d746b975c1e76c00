"""Compiles what would be compiled at the first start, so that an image brings it along.

It takes a core a minute and more, which every new pod would spend before it is of use. The folder
is what `NUMBA_CACHE_DIR` names; `deploy/with-kernels.sh` hands it on. With `--whole-seconds` the
times of our files lose their fractions first, as they do in an image: kernels go by them.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Plan for made-up requests, as a picker and an engine do before they begin."""
    if "--whole-seconds" in sys.argv[1:]:
        whole_seconds()
    from slosched.config.fleet import ReplicaSettings
    from slosched.config.live import LiveConfig
    from slosched.config.load import load
    from slosched_server.dashboard.hindsight import rehearse

    settings = load(None)
    url = "http://127.0.0.1:1"
    replica = ReplicaSettings(url=url).build(settings.engine, settings.fleet.ahead)
    settings.dispatcher().warm_up([replica])
    settings.planner().warm_up(replica.limits, replica.latency)
    rules = LiveConfig(None, [], queue=True, discovers=True, host="127.0.0.1").read().fleet
    if rules is not None and rules.replay is not None:
        rehearse(rules.replay)


def whole_seconds() -> None:
    """Round the times of our packages' files down."""
    for name in ("slosched", "slosched_solvers", "slosched_server"):
        spec = find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            for file in Path(folder).rglob("*.py"):
                seconds = int(file.stat().st_mtime)
                os.utime(file, (seconds, seconds))


if __name__ == "__main__":
    main()
