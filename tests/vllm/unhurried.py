"""Our scheduler in an engine that is as slow as a request says, and whose steps can be counted."""

import time
from pathlib import Path

from vllm.v1.core.sched.output import SchedulerOutput

from slosched.vllm import SloScheduler

STEPS = Path("steps")  # in the folder that the server runs in: a byte for each step with tokens


class Unhurried(SloScheduler):
    """Steps with a request whose `vllm_xargs` have `test_step_s` take that long, and more."""

    def schedule(self, *args: object, **kwargs: object) -> SchedulerOutput:
        asked = [r.sampling_params.extra_args or {} for r in self.running if r.sampling_params]
        time.sleep(max((float(args.get("test_step_s", 0.0)) for args in asked), default=0.0))
        output = super().schedule(*args, **kwargs)
        if output.total_num_scheduled_tokens:
            with STEPS.open("ab") as file:
                file.write(b".")
        return output
