"""JAX, imported when it is first used: what describes a problem need not wait for it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:

    class _Lazy:
        def __init__(self, module: str):
            self._module = module

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._module), name)

    jax, jnp = _Lazy("jax"), _Lazy("jax.numpy")

__all__ = ["jax", "jnp"]
