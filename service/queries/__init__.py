"""Typed functions of the statements in `sql/`, one module for each file; see `service.database.statements`."""
