"""Configuration: YAML, overrides and the environment in, objects out, errors with positions."""
