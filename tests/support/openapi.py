"""`python -m tests.support.openapi`: writes docs/openapi.yaml anew from the endpoints."""

from pathlib import Path

import msgspec

from service.api.routes import endpoints
from service.http import openapi

FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"

if __name__ == "__main__":
    FILE.write_bytes(msgspec.yaml.encode(openapi.document(endpoints)))
