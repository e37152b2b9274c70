"""Linear models fine-tuned from a pre-trained solution with weights by pre-trained loss: the exact theory.

The array you hold decides the engine, the problem you state decides the formula. Squared error carries no
½ anywhere: a gradient step is θ ← θ − 2ηΣ'(θ − …). Equation numbers are those of Sanyal et al., ICML 2025.

Examples
--------
>>> import linear_theory as lt
>>> problem = lt.paper_problem(rho=0.6)
>>> theta = lt.iterate(problem, steps=10**12, temperature=1e-12)  # the weights stall the shift
>>> print(f"{lt.total_error(problem, theta):.4f}, {lt.total_error(problem, problem.pretrained):.4f} at the start")
0.5227, 1.0000 at the start
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .public import *  # noqa: F403
    from .public import __all__ as __all__
else:
    # JAX takes half a second to import, and ``--help`` and ``--version`` need neither it nor SciPy: the names of
    # ``public`` are imported, all together, when the first of them is used.

    def __getattr__(name):
        if name == "__all__" or not name.startswith("__"):
            _import_public_names()
        if name in globals():
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")} - {"TYPE_CHECKING"})

    def _import_public_names():
        from importlib import import_module

        public = import_module(".public", __name__)
        for name in ("__all__", *public.__all__):
            globals().setdefault(name, getattr(public, name))  # never over what a test has put there
