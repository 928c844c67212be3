"""Embedding models: the local one, and those of providers."""
