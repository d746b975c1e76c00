"""An OpenAI-compatible server that computes nothing: the simulator's engine, by a real clock."""
