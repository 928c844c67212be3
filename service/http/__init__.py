"""HTTP for the handlers: endpoints, requests, responses, authentication, rate limits, OpenAPI."""
