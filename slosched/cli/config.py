"""`slosched config`: check it, show what is in force, print its schema."""

from pathlib import Path
from typing import Annotated

import typer

from slosched.cli.common import Config, Set, reported

group = typer.Typer(no_args_is_help=True, help="Validate and show configuration.")


@group.command()
def check(
    file: Annotated[Path, typer.Argument(help="YAML file.")],
    set_: Set = None,
) -> None:
    """Validate a file; exit code 2 and a line for each problem that is found.

    \b
    Example:
      slosched config check slosched.yaml
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        from slosched.config.keys import read_keys
        from slosched.config.load import build, read
        from slosched.core.errors import ConfigError
        from slosched.whatif import grid

        document = read(file, set_ or [])
        settings = build(document)
        grid.check(settings)
        grid.grid(document).cells()
        if keys := settings.access.file(file):
            read_keys(keys, settings.classes)
        typer.echo(f"{file}: fine, {len(settings.classes)} classes, policy {settings.policy.kind}")
        try:
            settings.planner()
            settings.access.check_exposure(settings.server.host)
        except ConfigError as error:
            typer.echo(f"note: serve will refuse it: {error}")


@group.command()
def show(config: Config = None, set_: Set = None) -> None:
    """Print the configuration in force: defaults, file, environment and --set.

    \b
    Example:
      slosched config show --config slosched.yaml --set policy.kind=edf
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        import yaml

        from slosched.config.load import load
        from slosched.config.schema import dump

        typer.echo(yaml.safe_dump(dump(load(config, set_ or [])), sort_keys=False), nl=False)


@group.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors.

    \b
    Example:
      slosched config schema > slosched.schema.json
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        import json

        from slosched.config.schema import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(group, name="config")
