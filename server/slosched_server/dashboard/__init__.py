"""The live page at `/dashboard`: what is served, who waits, and why."""
