"""Results: tables, timelines, and HTML pages with pictures."""
