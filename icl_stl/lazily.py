"""JAX and SciPy's statistics, imported when they are first used: descriptions need not wait."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from scipy import stats
else:

    class _Lazy:
        def __init__(self, module: str):
            self._module = module

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    jax, jnp, stats = _Lazy("jax"), _Lazy("jax.numpy"), _Lazy("scipy.stats")

__all__ = ["jax", "jnp", "stats"]
