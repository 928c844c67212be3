"""Uploads of embeddings: parse, decode, check, store."""
