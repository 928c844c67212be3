"""Thin handlers, one module a resource. `routes` lists the endpoints of all."""
