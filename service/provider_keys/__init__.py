"""Encryption of the providers' keys, and rotation of the encryption key."""
