"""HTTP: endpoints, requests, responses, authentication, rate limits, OpenAPI."""
