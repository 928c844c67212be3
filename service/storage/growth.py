"""Projects that are being filled: an index of one is obsolete before it is ready."""

import time

from service.queries.indexes import ProjectToIndex

SHARE = 0.01  # of its rows, by which a project that is being filled grows between two polls
# A build waits for the end of an upload no longer than it would take itself: waiting in vain costs at most as much as
# building in vain. On two cores 1,000,000 rows of 384 dimensions took 10.5 minutes, fewer are faster.
ROWS_BUILT_A_SECOND = 2000
LEAST_SECONDS = 10.0


class Growth:
    """How projects grew between polls, and since when."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def is_under_way(self, project: ProjectToIndex) -> bool:
        """Whether a project has grown since the last poll so much that its index had better be built later.

        Also true when it is seen for the first time.
        """
        now = time.monotonic()
        changes, since = self._seen.get(project.project_id, (0, now))
        grows = project.changes - changes > SHARE * project.rows
        self._seen[project.project_id] = (project.changes, since if grows else now)
        return grows and now - since < max(LEAST_SECONDS, project.rows / ROWS_BUILT_A_SECOND)

    def forget(self, project_id: int) -> None:
        """Begins anew with a project, whose index has just been built."""
        self._seen.pop(project_id, None)
