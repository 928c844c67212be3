"""A registry and search service for embeddings."""

__version__ = "0.1.0"
