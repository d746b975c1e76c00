"""A streaming client of OpenAI-compatible servers, for whoever measures them."""
