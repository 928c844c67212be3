"""Connections: their limits, and graceful shutdown."""
