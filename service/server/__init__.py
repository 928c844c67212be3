"""The connection below HTTP: its limits, and graceful shutdown."""
