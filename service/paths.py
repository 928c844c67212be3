"""Where the package finds its `sql/` and `migrations/` folders: in a checkout beside it, in a wheel inside it."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Returns the data folder of this name, `sql` or `migrations`."""
    packed = PACKAGE / "_data" / name
    return packed if packed.is_dir() else PACKAGE.parent / name
