"""`slosched train`, `predict` and `evaluate`: make a length predictor, and try it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from slosched.cli.common import Format, FormatOption, Quiet, Seed, Verbose, reported

Encoder = Annotated[
    str | None,
    typer.Option(metavar="NAME|FOLDER", help="BERT-like encoder: of the hub, or a local folder."),
]
Data = Annotated[
    list[Path],
    typer.Argument(metavar="DATA...", help="ShareGPT JSON, our JSONL, or request logs."),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Folder, or name of a shipped one.")]
Recount = Annotated[
    bool | None,
    typer.Option(
        help="Count tokens by the encoder's tokenizer; by default for ShareGPT, which has none."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Requests of each file.")]


def train(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the model to.")],
    encoder: Encoder = None,
    encoder_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the model calls its encoder, if not --encoder."),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="slosched, elis, ltr or ssjf: how it is trained.")
    ] = "slosched",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="A=B", help="Change one option of the preset; as often as wanted."
        ),
    ] = None,
    recount: Recount = None,
    limit: Limit = None,
    device: Annotated[
        str, typer.Option(help="Of torch: cpu, cuda; auto for what there is.")
    ] = "auto",
    cache: Annotated[
        Path,
        typer.Option(help="Folder for embeddings and checkpoints: a second run goes on there."),
    ] = Path(".cache/slosched"),
    threads: Annotated[int, typer.Option(min=0, help="Cores for ONNX; 0 for all.")] = 0,
    seed: Seed = 0,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Train a length predictor on answers that were given, and try it on others.

    Requests with a prompt are parted by prompt: 70% to learn from, 10% to see when to stop, 10% to
    learn how wrong it is, 10% to try it on. The encoder stays as it is unless the preset tunes it.

    \b
    Examples:
      slosched train ShareGPT_V3.json --encoder BAAI/bge-small-en-v1.5 -o lengths
      slosched train requests.jsonl requests.jsonl.1 --encoder ./bge-small -o lengths
      slosched train ShareGPT_V3.json --encoder ./minilm --preset elis -o elis
      slosched train requests.jsonl --encoder ./bge-small --set tune_epochs=3 -o lengths
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported(verbose, quiet):
        from slosched.cli.progress import bar
        from slosched.report.files import check_folder
        from slosched.traces.sharegpt import is_sharegpt
        from slosched.training.examples import read_examples
        from slosched.training.options import chosen
        from slosched.training.train import Setup, find_device
        from slosched.training.train import train as run

        check_folder(output)
        settings = chosen(preset, options or [], seed)
        examples = read_examples(data, limit)
        setup = Setup(
            encoder=encoder or "BAAI/bge-small-en-v1.5",
            output=output,
            cache=cache,
            data=", ".join(path.name for path in data),
            encoder_name=encoder_name,
            recount=any(map(is_sharegpt, data)) if recount is None else recount,
            device=find_device(device),
            threads=threads,
        )
        with bar("reading", quiet, lines=True) as progress:
            metrics = run(examples, settings, setup, progress)
        _show(metrics, output_format)


def predict(
    model: Model,
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]...", help="Else lines of stdin.")
    ] = None,
    answer: Annotated[str, typer.Option(help="What was answered so far.")] = "",
    produced: Annotated[
        int | None, typer.Option(min=0, help="Tokens of that; else they are counted.")
    ] = None,
    encoder: Encoder = None,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Say how many output tokens a model expects.

    \b
    Examples:
      slosched predict lengths "Write a poem about the sea" "What is 2 + 2?"
      slosched predict lengths "Write a poem" --answer "The sea, the sea," --produced 6
      cut -d, -f2 prompts.csv | slosched predict lengths --encoder ./bge-small
    """  # noqa: D301
    with reported(verbose, quiet):
        import orjson

        from slosched.cli import common
        from slosched.core.transcript import Said
        from slosched.predictors.folder import locate
        from slosched.predictors.model import open_model
        from slosched.report.predictions import predictions_table
        from slosched.training.predictions import predictions

        prompts = prompt or [line.rstrip("\n") for line in sys.stdin]
        opened = open_model(locate(model), encoder)
        out = produced
        if out is None:
            [out] = opened.encoder.count([answer]) if answer else [0]
        found = predictions(opened, [Said(text, answer, out) for text in prompts])
        if output_format is Format.json:
            typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        else:
            common.show(predictions_table(found))


def evaluate(
    model: Model,
    data: Data,
    encoder: Encoder = None,
    recount: Recount = None,
    limit: Limit = None,
    part: Annotated[
        str,
        typer.Option(metavar="all|test", help="All requests, or those of the seed's test part."),
    ] = "all",
    seed: Seed = 0,
    output_format: FormatOption = Format.table,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Hold a model against answers: ranks, errors, coverage, by length and as answers grow.

    \b
    Examples:
      slosched evaluate lengths requests.jsonl
      slosched evaluate lengths ShareGPT_V3.json --part test --encoder ./bge-small
    """  # noqa: D301
    with reported(verbose, quiet):
        from slosched.core.errors import ConfigError
        from slosched.predictors.folder import locate
        from slosched.predictors.memo import Memo
        from slosched.predictors.model import open_model
        from slosched.traces.sharegpt import is_sharegpt
        from slosched.training.evaluate import evaluate as run
        from slosched.training.examples import read_examples, recounted, split

        if part not in ("all", "test"):
            raise ConfigError(f"--part: must be all or test, got {part!r}")
        examples = read_examples(data, limit)
        opened = open_model(locate(model), encoder)
        opened = replace(opened, encoder=Memo(opened.encoder))  # prompts come again at each cut
        if any(map(is_sharegpt, data)) if recount is None else recount:
            examples = recounted(examples, opened.encoder.count)
        if part == "test":
            examples = split(examples, seed).test
        _show(run(opened, examples), output_format)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(train)
    app.command()(predict)
    app.command()(evaluate)


def _show(metrics: dict[str, Any], output_format: Format) -> None:
    import orjson

    from slosched.cli import common
    from slosched.report.predictions import metrics_tables

    if output_format is Format.json:
        typer.echo(orjson.dumps(metrics, option=orjson.OPT_INDENT_2).decode())
        return
    for table in metrics_tables(metrics):
        common.show(table)
