"""What annealers are told of their temperatures."""


def check_temperatures(acceptance: float, cooling: float) -> None:
    """Raise a ValueError for a first temperature, or a cooling, that there cannot be."""
    for name, share in (("acceptance", acceptance), ("cooling", cooling)):
        if not 0 < share < 1:
            raise ValueError(f"{name} must be above 0 and below 1, got {share}")
