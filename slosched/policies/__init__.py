"""Policies: each orders a snapshot of the live requests, in a file of its own."""
