"""The spectral loss on a whole augmentation graph: its minimiser is the matrix factor of HaoChen et al. 2021."""

import numpy as np
import torch

from astrofm.objectives.spectral import spectral_loss

NUM_IMAGES, NUM_PAIRS, RANK = 10, 1500, 3
NO_CAP = 1e4


def counted_pairs():
    """All pairs of views of a graph with three communities, each as often as its weight says, in both orders."""
    rng = np.random.default_rng(0)
    community = np.repeat([0, 1, 2], [3, 3, 4])
    weights = np.where(community[:, None] == community, 1.0, 0.03) * rng.uniform(0.5, 1.5, (NUM_IMAGES, NUM_IMAGES))
    counts = np.round(NUM_PAIRS / 2 * weights / weights.sum()).astype(int)
    counts = counts + counts.T
    pairs = np.repeat(np.arange(NUM_IMAGES**2), counts.ravel())
    return counts / counts.sum(), torch.from_numpy(pairs // NUM_IMAGES), torch.from_numpy(pairs % NUM_IMAGES)


def test_the_minimiser_is_the_best_approximation_of_the_normalised_adjacency_by_its_rank():
    weights, first, second = counted_pairs()
    marginal = weights.sum(axis=1)
    adjacency = weights / np.sqrt(np.outer(marginal, marginal))
    values, vectors = np.linalg.eigh(adjacency)
    wanted = (vectors[:, -RANK:] * values[-RANK:]) @ vectors[:, -RANK:].T

    table = torch.randn(NUM_IMAGES, RANK, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.LBFGS([table], max_iter=200, line_search_fn="strong_wolfe")

    def population_loss():
        optimizer.zero_grad()
        loss = NO_CAP * spectral_loss(table[first], table[second], NO_CAP)
        loss.backward()
        return loss

    optimizer.step(population_loss)
    factor = np.sqrt(marginal)[:, None] * table.detach().double().numpy()
    # A pair is no negative of itself, so that the negatives lack one part in their number.
    np.testing.assert_allclose(factor @ factor.T, wanted, atol=5e-3)
    cosines = np.linalg.svd(vectors[:, -RANK:].T @ np.linalg.qr(factor)[0])[1]
    assert np.degrees(np.arccos(cosines.clip(max=1.0))).max() < 1.0
