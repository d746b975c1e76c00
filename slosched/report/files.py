"""Files that are there whole or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from slosched.core.errors import SloschedError


def check_folder(*paths: Path | None) -> None:
    """Refuse files whose folder is not there, before hours of work go into them."""
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise SloschedError(f"{path}: no such folder: {path.parent}")


def write(path: Path, content: bytes) -> None:
    """Write to a temporary file beside `path`, then rename; SloschedError if that fails."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(content)
                file.flush()
                # A temporary file is private; a result is as readable as any new file.
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SloschedError(f"{path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
