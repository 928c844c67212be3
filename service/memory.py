"""The memory of this machine."""

import os
from pathlib import Path

# The limits of the control group, version 2 and 1; `max` or a huge number means no limit.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def this_machine() -> int:
    """The bytes of memory of this machine, or of the control group if that is less."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CGROUP_LIMITS:
        if limit.exists() and (text := limit.read_text().strip()).isdecimal():
            least = min(least, int(text))
    return least
