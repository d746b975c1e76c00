"""Measures engines, and fits the latency model to what they took."""
