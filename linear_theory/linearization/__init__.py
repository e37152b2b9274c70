"""Any JAX model as the linear model that it is at its pre-trained parameters: f(x; θ) ≈ f(x; θ*) + J(θ − θ*)."""

from .linear import Linearization, Modes, Spectrum, linearize

__all__ = ["Linearization", "Modes", "Spectrum", "linearize"]
