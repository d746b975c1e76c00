"""Arrays in, order out: the rollout of an order through the engine, and searches over orders."""
