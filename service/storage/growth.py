"""Detection of growing projects, whose index would be obsolete before it is ready."""

import time

from service.queries.indexes import ProjectToIndex

SHARE = 0.01  # of its rows: the growth of a growing project between two polls
# A build waits for the end of an upload at most as long as it would take itself, so waiting in vain costs no more than
# building in vain. On two cores, 1,000,000 rows of 384 dimensions took 10.5 minutes; fewer are faster.
ROWS_BUILT_A_SECOND = 2000
LEAST_SECONDS = 10.0


class Growth:
    """The growth of projects between polls."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def is_under_way(self, project: ProjectToIndex) -> bool:
        """Whether a project is growing, so that its index should be built later; also true at the first poll."""
        now = time.monotonic()
        changes, since = self._seen.get(project.project_id, (0, now))
        grows = project.changes - changes > SHARE * project.rows
        self._seen[project.project_id] = (project.changes, since if grows else now)
        return grows and now - since < max(LEAST_SECONDS, project.rows / ROWS_BUILT_A_SECOND)

    def forget(self, project_id: int) -> None:
        """Forgets a project after a build of its index."""
        self._seen.pop(project_id, None)
