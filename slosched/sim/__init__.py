"""Continuous batching in virtual time, over the same snapshot, policies and planner."""
