"""Uploads of embeddings and texts: parse, decode, check, store."""
