"""The smoothed curve beside a noisy one."""


class Average:
    """Exponential moving average, exact from the first value on.

    a[t] = m · a[t-1] + (1 - m) · x[t], divided by 1 - m^t for what the empty beginning weighs.
    """

    def __init__(self, memory: int = 20) -> None:
        """`memory` is the number of values that it looks back on, more or less."""
        self._keep = 1 - 1 / memory
        self._sum = 0.0
        self._weight = 0.0

    def update(self, value: float) -> float:
        """Takes one more value and gives the average."""
        self._sum = self._keep * self._sum + (1 - self._keep) * value
        self._weight = self._keep * self._weight + (1 - self._keep)
        return self._sum / self._weight
