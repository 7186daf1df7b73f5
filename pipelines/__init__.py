"""The wiring: which step feeds which."""
