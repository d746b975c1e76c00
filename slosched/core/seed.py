"""Seeds of random generators."""


def check_seed(seed: int, most: int = 2**63 - 1) -> None:
    """Raise a ValueError for what a generator would refuse in the middle of its work."""
    if not 0 <= seed <= most:
        raise ValueError(f"seed must be from 0 to {most}, got {seed}")
