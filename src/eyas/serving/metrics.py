"""What a server counts and measures, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Metrics:
    """The metrics of one server, in a registry of its own; any thread may count."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"eyas_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"eyas_{name}", text, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"eyas_{name}", text, registry=registry, buckets=buckets)

        self.requests = counter("requests", "Requests answered", "path", "status")
        self.cancelled = counter("requests_cancelled", "Requests whose client went away")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts, known ones included")
        self.cached_tokens = counter("cached_prompt_tokens", "Tokens of prompts that were known")
        self.generated_tokens = counter("generated_tokens", "Tokens generated")
        self.queue = gauge("queue_length", "Requests that wait for a place")
        self.rows = gauge("rows", "Sequences that are generated or whose prompt is read")
        self.prefix_bytes = gauge("prefix_cache_bytes", "Memory of the states kept")
        self.prefixes = gauge("prefix_cache_entries", "States kept")
        self.batch = histogram("batch_rows", "Rows of a forward of one token", _ROWS)
        self.first_token = histogram(
            "first_token_seconds", "From the request to its first token", _SECONDS
        )
        self.seconds = histogram("request_seconds", "From the request to its end", _SECONDS)
