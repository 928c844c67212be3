"""Similarity search: queries, filters, and nearest neighbours."""
