"""Thin handlers, one module a resource. `routes` has the endpoints of all."""
