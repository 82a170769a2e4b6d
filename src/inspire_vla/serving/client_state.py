"""What a server keeps of one connection: guesses per session, the instruction in force, and its pace."""

import time
from collections import OrderedDict
from typing import Any

from inspire_vla.serving.observations import Request

MAX_SESSIONS = 64
"""Robots whose guesses are kept for one connection; the longest unheard is forgotten."""


class ClientState:
    """One connection's. `requests_per_second` 0 sets no pace."""

    def __init__(self, requests_per_second: float = 0.0) -> None:
        self.rate = requests_per_second
        self.allowance, self.at = self.rate, time.monotonic()
        self.since = self.at
        self.instruction = ""
        self.busy = False
        self.answered = 0
        self.previous_ms: float | None = None
        self._said: OrderedDict[str, dict[str, str]] = OrderedDict()

    def guesses(self, request: Request) -> dict[str, str] | None:
        """Return what the answers are expected to be: the client's own guesses, else the session's last answers."""
        return self._said.get(request.session) if request.drafts is None else request.drafts

    def remember(self, request: Request, decision: Any) -> None:
        """Keep what the model itself said; a forced word is no sign of what it will say next."""
        own = zip(decision.mentions, decision.answers, decision.overridden, strict=True)
        self._said[request.session] = {mention: word for mention, word, forced in own if not forced}
        self._said.move_to_end(request.session)
        while len(self._said) > MAX_SESSIONS:
            self._said.popitem(last=False)

    def pause_s(self) -> float:
        """Spend one request of the allowance, which refills at `rate` up to a second's worth."""
        if self.rate <= 0:
            return 0.0
        now = time.monotonic()
        self.allowance = min(max(1.0, self.rate), self.allowance + (now - self.at) * self.rate) - 1
        self.at = now
        return max(0.0, -self.allowance / self.rate)
