"""Maps of embeddings: points in two dimensions, computed in a separate process. No SQL, no HTTP."""
