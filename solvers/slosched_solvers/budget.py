"""The bounds of a search's budget."""


def check_budget(time_budget_ms: float | None, move_budget: int | None) -> None:
    """Raise ValueError unless there is a budget, of time or of moves, that can be kept."""
    if time_budget_ms is None and move_budget is None:
        raise ValueError("one of time_budget_ms and move_budget must be given")
    if time_budget_ms is not None and not time_budget_ms > 0:
        raise ValueError(f"time_budget_ms must be greater than 0, got {time_budget_ms}")
    if move_budget is not None and move_budget < 0:
        raise ValueError(f"move_budget must not be negative, got {move_budget}")
