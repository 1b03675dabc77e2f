"""The server's own time: the machine's, unless somebody holds it.

A held clock stands still until it is set or advanced. Batches live by it, and so do the lags among the faults; how long
the server takes to do something is always the machine's time.
"""

import threading
import time


class Clock:
    """Tells the server's time in Unix seconds. Thread-safe."""

    def __init__(self) -> None:
        self._held_at: float | None = None
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        return self._held_at is not None

    def now(self) -> float:
        held_at = self._held_at
        return time.time() if held_at is None else held_at

    def hold(self, at: float) -> None:
        """From now on it is `at`."""
        self._held_at = at

    def advance(self, seconds: float) -> None:
        """Hold it so many seconds after what it is now."""
        with self._lock:
            self._held_at = self.now() + seconds

    def release(self) -> None:
        """It is the machine's time again."""
        self._held_at = None
