"""What a server counts, for Prometheus to fetch under /metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "inspire_requests", "Observations answered, by outcome", ["outcome"], registry=registry
        )
        for outcome in ("ok", "undecodable", "refused", "failed", "gone"):
            self.requests.labels(outcome)
        self.refused_connections = Counter(
            "inspire_connections_refused", "Connections refused, by reason", ["reason"], registry=registry
        )
        for reason in ("key", "full", "stopping"):
            self.refused_connections.labels(reason)
        self.connections = Gauge("inspire_connections", "Open connections", registry=registry)
        self.waiting = Gauge("inspire_requests_waiting", "Observations not yet begun", registry=registry)
        self.infer = Histogram(
            "inspire_infer_seconds", "One pass through the agent", buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "inspire_batch_size", "Observations a pass", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.total = Histogram(
            "inspire_request_seconds", "From observation to answer", buckets=SECONDS, registry=registry
        )
        self.answers = Counter("inspire_answers", "Answers said, by word", ["word"], registry=registry)
        self.guesses = Counter(
            "inspire_drafts_accepted", "Draft answers that the model confirmed", registry=registry
        )
        self.forced = Counter("inspire_answers_overridden", "Answers replaced by a client", registry=registry)
        self.throttled = Counter(
            "inspire_throttled", "Observations held back by the rate limit", registry=registry
        )

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self.registry)
