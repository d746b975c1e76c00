"""The HTTP front end: reads what a request asks for, tags it, and streams the engine's answer."""
