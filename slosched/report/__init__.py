"""Results: tables, JSON and timelines."""
