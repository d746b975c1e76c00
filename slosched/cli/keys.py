"""`slosched keys`: give API keys of the front end, list them, take them back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slosched.cli.common import Config, Format, FormatOption, reported, show

if TYPE_CHECKING:
    from slosched.config.key_store import KeyStore
    from slosched.config.keys import KeySettings

group = typer.Typer(no_args_is_help=True, help="Give and take API keys of the front end.")

File = Annotated[
    Path | None,
    typer.Option("--file", help="File of keys; else access.keys of the configuration."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called.")]


@group.command()
def add(
    name: Name,
    file: File = None,
    config: Config = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="CLASS", help="Allow this class only; as often as wanted."),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="For whom its requests are; else NAME.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="The tenant's share, else 1.")] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Its owner may say which tenant a request is for.")
    ] = False,
    admin: Annotated[
        bool, typer.Option("--admin", help="Its owner may change how the front end works.")
    ] = False,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="More are refused with 429.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of prompts, and of answers at their longest."),
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Requests at once; else those of a minute."),
    ] = None,
) -> None:
    """Make a key and print it, once: the file has only its hash.

    A front end that serves by this file knows the key at once.

    \b
    Examples:
      slosched keys add chat --class interactive --requests-per-minute 600 --file keys.yaml
      slosched keys add operator --admin --config slosched.yaml
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        from slosched.config.keys import check_key, written
        from slosched_server.keys import digest_of, new_key

        store = _store(file, config)
        _check_classes(classes or [], config)
        key = new_key()
        entry = {
            "name": name,
            "hash": written(digest_of(key.encode())),
            "classes": classes or None,
            "tenant": tenant,
            "weight": weight,
            "trusted": trusted or None,
            "admin": admin or None,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "burst": burst,
        }
        entry = {field: value for field, value in entry.items() if value is not None}
        check_key(entry, "keys add")
        with store.change() as entries:
            _check_fresh(name, entries)
            entries.append(entry)
        typer.echo("keep it well: it is shown this once", err=True)
        typer.echo(key)


@group.command("list")
def list_(
    file: File = None, config: Config = None, output_format: FormatOption = Format.table
) -> None:
    """Print what keys there are, and what their owners may do.

    \b
    Example:
      slosched keys list --file keys.yaml
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        import json

        keys = _store(file, config).read().keys
        if output_format is Format.json:
            fields = {"hash"}
            plain = [key.model_dump(by_alias=True, exclude=fields) for key in keys]
            typer.echo(json.dumps({"keys": plain}, indent=2))
        else:
            _show(keys)


@group.command()
def remove(name: Name, file: File = None, config: Config = None) -> None:
    """Take a key back; a front end that serves by this file refuses it at once.

    \b
    Example:
      slosched keys remove chat --file keys.yaml
    """  # noqa: D301  (\b is typer's mark for lines that stay as they are)
    with reported():
        from slosched.config.document import hint
        from slosched.core.errors import ConfigError

        with _store(file, config).change() as entries:
            names = [entry["name"] for entry in entries]
            if name not in names:
                raise ConfigError(f"NAME: there is no key {name!r}{hint(name, names)}")
            del entries[names.index(name)]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.add_typer(group, name="keys")


def _store(file: Path | None, config: Path | None) -> "KeyStore":
    from slosched.config.key_store import KeyStore
    from slosched.config.load import load, where
    from slosched.core.errors import ConfigError

    path = file or load(config).access.file(where(config))
    if path is None:
        raise ConfigError("--file: name a file of keys, or one in the configuration (access.keys)")
    return KeyStore(path)


def _check_classes(names: list[str], config: Path | None) -> None:
    from slosched.config.document import hint
    from slosched.config.load import load, where
    from slosched.core.errors import ConfigError

    if where(config) is None:
        return
    known = list(load(config).classes)
    for name in names:
        if name not in known:
            raise ConfigError(f"--class: unknown class {name!r}{hint(name, known)}")


def _check_fresh(name: str, entries: list[dict[str, Any]]) -> None:
    from slosched.core.errors import ConfigError

    if any(entry["name"] == name for entry in entries):
        raise ConfigError(f"NAME: there is a key {name!r} already, remove it first")


def _show(keys: list["KeySettings"]) -> None:
    from rich.table import Table

    table = Table("name", "tenant", "weight", "classes", "may", "requests/min", "tokens/min")
    for key in keys:
        rights = {"admin": key.admin, "name tenants": key.trusted}
        table.add_row(
            key.name,
            key.called,
            "" if key.weight is None else f"{key.weight:g}",
            "all" if key.classes is None else ", ".join(key.classes),
            ", ".join(right for right, has in rights.items() if has),
            str(key.requests_per_minute or ""),
            str(key.tokens_per_minute or ""),
        )
    show(table)
