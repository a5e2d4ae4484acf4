"""Distributions that a recipe may name for a physical quantity."""

from __future__ import annotations

__all__ = ["Law", "Lognormal", "Uniform"]

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Uniform(BaseModel):
    """Every value of a range is as likely as any other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: Literal["uniform"] = "uniform"
    low: float
    high: float

    @model_validator(mode="after")
    def _range_is_ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"low must not exceed high, got {self.low:g} and {self.high:g}")
        return self

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float64]:
        """Draw values. Shape: (num,)."""
        return rng.uniform(self.low, self.high, num)


class Lognormal(BaseModel):
    """``loc + scale * exp(shape * n)`` with a standard normal n; the parameters of ``scipy.stats.lognorm``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    law: Literal["lognormal"] = "lognormal"
    shape: float = Field(gt=0)
    loc: float = 0.0
    scale: float = Field(gt=0)

    def draw(self, rng: np.random.Generator, num: int) -> NDArray[np.float64]:
        """Draw values. Shape: (num,)."""
        return np.asarray(self.loc + self.scale * np.exp(self.shape * rng.standard_normal(num)))


Law = Annotated[Uniform | Lognormal, Field(discriminator="law")]
"""In a recipe: ``{law: uniform, low: 0, high: 0.5}`` or ``{law: lognormal, shape: 0.7, loc: 0.0, scale: 0.03}``."""
