"""Maps of embeddings: points in the plane, computed in a process of its own. No SQL, no HTTP."""
