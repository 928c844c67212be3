"""The database: connections, statements, errors, and the embedded server."""
