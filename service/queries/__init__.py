"""Typed functions of the statements in `sql/`, one module per file; see `service.database.statements`."""
