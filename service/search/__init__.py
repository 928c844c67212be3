"""Similarity search: the query, its filter, and how the nearest are found."""
