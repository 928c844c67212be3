"""How much memory the build of an index may take where no setting says so."""

import os
from pathlib import Path

PART = 4  # of the memory: the rest is PostgreSQL's cache, the service, and whatever else runs there
OF_ANOTHER_MACHINE = 512 * 1024 * 1024  # where PostgreSQL runs elsewhere, of which nothing is known
# The limit of this process's control group, version 2 and 1; `max`, or a huge number, without one.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def for_builds(*, is_embedded: bool) -> int:
    """In bytes: with the embedded PostgreSQL a quarter of what this machine, or the control group, has."""
    return this_machine() // PART if is_embedded else OF_ANOTHER_MACHINE


def this_machine() -> int:
    """The bytes of memory of this machine, or of the control group of this process where those are fewer."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CGROUP_LIMITS:
        if limit.exists() and (text := limit.read_text().strip()).isdecimal():
            least = min(least, int(text))
    return least
