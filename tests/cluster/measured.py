"""What tests have measured, for whoever ran them: printed in the end, asserted by nobody."""

from dataclasses import dataclass, field


@dataclass
class Measured:
    """The lines of one run."""

    lines: list[str] = field(default_factory=list)

    def took(self, what: str, seconds: float) -> None:
        """Take down how long something took."""
        self.lines.append(f"{seconds:7.2f} s  {what}")

    def counted(self, what: str) -> None:
        """Take down what became of all requests."""
        self.lines.append(f"           {what}")
