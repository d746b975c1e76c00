"""Trace files in, requests out: one file per format, told apart by their content."""

from slosched.traces.read import iter_records, read
from slosched.traces.record import TraceRecord

__all__ = ["TraceRecord", "iter_records", "read"]
