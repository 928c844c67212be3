"""The providers' keys: sealing them, and exchanging the key that seals."""
