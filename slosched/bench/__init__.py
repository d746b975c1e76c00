"""Replays of traces against live servers: open loop, with SLO tags."""
