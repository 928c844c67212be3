"""The memory of this machine, and the default for builds of indexes."""

import os
from pathlib import Path

PART = 4  # of the memory: the rest is for PostgreSQL's cache, the service, and other programs
OF_ANOTHER_MACHINE = 512 * 1024 * 1024  # if PostgreSQL runs on an unknown machine
# The limits of the control group, version 2 and 1; `max` or a huge number means no limit.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def for_builds(*, is_embedded: bool) -> int:
    """The bytes for a build: with the embedded PostgreSQL a quarter of the memory."""
    return this_machine() // PART if is_embedded else OF_ANOTHER_MACHINE


def this_machine() -> int:
    """The bytes of memory of this machine, or of the control group if that is less."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CGROUP_LIMITS:
        if limit.exists() and (text := limit.read_text().strip()).isdecimal():
            least = min(least, int(text))
    return least
