"""One random stream for each mock object, so that object 7 is the same in a survey of 10 and of 10,000."""

import numpy as np

__all__ = ["object_rng"]


def object_rng(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """Return the random generator of one mock object.

    Args:
        seed: Seed of the mock survey, not negative.
        index: Number of the object in the survey, not negative.
        stream: Number of the independent stream of this object: what is drawn from one (votes)
            then does not depend on how much was drawn from another (pixels).
    """
    return np.random.default_rng([seed, index, stream])
