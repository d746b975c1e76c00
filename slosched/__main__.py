"""`python -m slosched` is `slosched`."""

from slosched.cli.main import app

app()
