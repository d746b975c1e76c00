"""The nouns of slosched: numpy and the standard library only."""
