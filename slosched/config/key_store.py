"""The file of keys as commands change it: whole or not at all, and one after the other."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from slosched.config.document import Document
from slosched.config.keys import KeyFile, check_keys
from slosched.config.yaml import load_yaml, read_text
from slosched.core.errors import ConfigError

_OTHERS_MAY_READ = 0o004
_TITLE = "# Written by `slosched keys`, which keeps no comments; keys themselves are not here.\n"


class KeyStore:
    """A file of keys that may not be there yet.

    Parameters
    ----------
    path
        YAML; of a link, what it leads to is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def read(self) -> KeyFile:
        """Return all keys; ConfigError if there is no file, or it does not fit."""
        return check_keys(load_yaml(read_text(self._path), str(self._path)))

    @contextmanager
    def change(self) -> Iterator[list[dict[str, Any]]]:
        """Give the entries to be changed; they are written at the end if they fit.

        Raises
        ------
        ConfigError
            If the file cannot be read or written, does not fit, or everybody may read it.
        """
        try:
            with self._alone():
                document = self._document()
                check_keys(document)
                yield document.value["keys"]
                self._write(document.value)
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from None

    def _document(self) -> Document:
        if not self._path.exists():
            return load_yaml("keys: []", str(self._path))
        if self._path.stat().st_mode & _OTHERS_MAY_READ:
            raise ConfigError(f"{self._path}: everybody may read it: chmod o= {self._path}")
        return load_yaml(read_text(self._path), str(self._path))

    def _write(self, value: dict[str, Any]) -> None:
        text = _TITLE + yaml.safe_dump(value, sort_keys=False)
        check_keys(load_yaml(text, str(self._path)))
        number, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                self._keep_rights(number)
                file.write(text)
                file.flush()
                os.fsync(number)
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink()
            raise

    def _keep_rights(self, number: int) -> None:
        """Let whoever could read the file read the new one; a first one is its owner's alone."""
        with suppress(FileNotFoundError, PermissionError):
            old = self._path.stat()
            os.fchmod(number, old.st_mode & 0o777)
            os.fchown(number, old.st_uid, old.st_gid)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other command changes the file."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
