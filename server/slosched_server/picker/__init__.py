"""The endpoint picker: Envoy asks it where each request goes, and when."""
