"""`slosched simulated-engine`: a server to test against, that needs no GPU and no model."""

from typing import Annotated

import typer

from slosched.cli.common import Config, Quiet, Set, Verbose, load, reported

_LONGEST = 32_768  # tokens, where the configuration does not say


def simulated_engine(
    profile: Annotated[
        str | None,
        typer.Option(help="Step times: a shipped name or a file; else engine.profile."),
    ] = None,
    config: Config = None,
    set_: Set = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port, 0 for any free one.")
    ] = 8001,
    model: Annotated[str, typer.Option(help="What it says that it serves.")] = "simulated",
    speed: Annotated[
        float, typer.Option(min=0.01, max=1000.0, help="How many times as fast its time passes.")
    ] = 1.0,
    answer_tokens: Annotated[
        float, typer.Option(min=1.0, help="Median length of answers of which nobody says more.")
    ] = 200.0,
    answer_sigma: Annotated[
        float, typer.Option(min=0.0, help="Spread of these: of the logarithm of their length.")
    ] = 1.0,
    scheduler: Annotated[
        str | None,
        typer.Option(help="slosched, vllm-fcfs or vllm-priority; else engine.scheduler."),
    ] = None,
    fault: Annotated[
        str | None, typer.Option(help="From the start: hang, refuse, or slow=FACTOR.")
    ] = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Serve OpenAI's API by an engine that is simulated: slots, KV cache and step times only.

    Batches, preemptions and timing are those of the simulator under a profile, by a real clock;
    the text means nothing. For load tests, demos and front ends, without a GPU. Metrics have
    vLLM's names. An answer is as long as the header x-simulated-output-tokens says, or, with
    ignore_eos, max_tokens; else it is drawn, by the prompt.

    Faults are put in force and ended while it runs:

      curl -d '{"kind": "slow", "factor": 3}' http://127.0.0.1:8001/faults

    \b
    Examples:
      slosched simulated-engine --profile h100-llama2-70b-tp8
      slosched simulated-engine --port 8002 --set engine.max_num_seqs=8 --speed 10
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        from slosched.core.errors import ConfigError
        from slosched.simulated_engine.faults import parse_fault
        from slosched.simulated_engine.lengths import Lengths
        from slosched.simulated_engine.run import Serving, run, warm_up

        chosen = list(set_ or [])
        chosen += [f"engine.profile={profile}"] if profile else []
        chosen += [f"engine.scheduler={scheduler}"] if scheduler else []
        settings, _ = load(config, chosen)
        try:
            wrong = parse_fault(fault) if fault else None
        except ValueError as error:
            raise ConfigError(f"--fault: {error}") from None
        if wrong and wrong.kind == "die":
            raise ConfigError("--fault: die is for while it runs, see /faults")
        longest = settings.engine.max_model_len or _LONGEST
        options = settings.engine_options()
        serving = Serving(
            host, port, model, speed, longest, options.overhead,
            Lengths(answer_tokens, answer_sigma), wrong,
        )  # fmt: skip
        warm_up(settings.offline().simulated_engine())
        run(settings.online_engine(), settings.limits(), settings.tagger(), serving)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("simulated-engine")(simulated_engine)
