"""Users' JSON Schemas for the metadata of their embeddings."""
