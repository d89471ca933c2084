"""What a real law is: a frozen dataclass that draws rows, and may know more."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Law:
    """A real law D_0. What it does not know is None."""

    def truth(self, key: Any) -> Any:
        """The parameter of the law of one loop; () where it is the same for all."""
        return ()

    def draw(self, key: Any, truth: Any, count: int) -> Any:
        """So many rows: a pytree of arrays `[count, ...]`."""
        raise NotImplementedError

    log_density: ClassVar[Any] = None
    """truth, rows -> ln p_0(row), up to what all laws of a problem share: `[N]`."""
    predict: ClassVar[Any] = None
    """Rows -> the law of every label given what precedes it, by the predictor that knows D_0."""
