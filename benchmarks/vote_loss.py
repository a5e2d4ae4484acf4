"""Our vote loss against pyro's distribution in a loop over questions, as zoobot computes it.

Usage: ``python benchmarks/vote_loss.py [--json] [--repeats 5]``

Both take the votes for the 206 answers of Galaxy Zoo Evo to a batch of 4096 galaxies, forward and backward, on one
thread, in turns; times are those of the processor, the least of the repeats. Votes come in two forms. ``campaign``:
each galaxy was in one of the campaigns, as in the data set, with up to 40 people and a question further down the tree
asked half the time. ``all``: every galaxy has votes for every answer, which no data set has. Both must give the same
loss.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from astrofm.heads.votes import MAX_CONCENTRATION, vote_nll
from astrofm.schema import VoteSchema

BATCH = 4096
MOST_VOTES = 40


def read_schema() -> VoteSchema:
    return VoteSchema.from_yaml(files("astrofm_galaxyzoo") / "cards" / "schemas" / "gz-evo-v0.1.yaml")


def campaign_votes(schema: VoteSchema, rng: np.random.Generator) -> Tensor:
    """Return votes of galaxies in one campaign each; a campaign is what comes after the last ``-`` of a question."""
    endings = [question.name.rsplit("-", 1)[1] for question in schema.questions]
    own = rng.choice(sorted(set(endings)), BATCH)
    votes = np.zeros((BATCH, len(schema.columns)), dtype=np.int64)
    for question, ending, columns in zip(schema.questions, endings, schema.slices, strict=True):
        is_first = question is schema.questions[endings.index(ending)]
        asked = np.flatnonzero((own == ending) & (is_first | (rng.random(BATCH) < 0.5)))
        shares = rng.dirichlet(np.ones(columns.stop - columns.start), len(asked))
        votes[asked, columns] = rng.multinomial(rng.integers(1, MOST_VOTES + 1, len(asked)), shares)
    return torch.from_numpy(votes)


def all_votes(schema: VoteSchema, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.integers(1, MOST_VOTES // 2, (BATCH, len(schema.columns))))


def ours(alpha: Tensor, votes: Tensor, questions: tuple[slice, ...]) -> Tensor:
    return vote_nll(alpha, votes, questions)


def pyro_loop(alpha: Tensor, votes: Tensor, questions: tuple[slice, ...]) -> Tensor:
    """Return the loss as zoobot has it: one distribution a question, whole numbers of votes."""
    losses = []
    for question in questions:
        given = votes[:, question]
        of_question = dist.DirichletMultinomial(
            total_count=given.sum(dim=1).int(), concentration=alpha[:, question], is_sparse=False
        )
        losses.append(-of_question.log_prob(given.int()))
    return torch.stack(losses, dim=1)


def seconds(loss: Callable[..., Tensor], alpha: Tensor, votes: Tensor, questions: tuple[slice, ...]) -> float:
    alpha.grad = None
    started = time.process_time()
    loss(alpha, votes, questions).sum().backward()
    return time.process_time() - started


def compare(alpha: Tensor, votes: Tensor, questions: tuple[slice, ...], repeats: int) -> dict[str, float]:
    """Return images a second of both, after a check that losses and gradients are the same."""
    values, gradients = [], []
    for loss in (ours, pyro_loop):
        seconds(loss, alpha, votes, questions)
        assert alpha.grad is not None
        values.append(loss(alpha, votes, questions).detach())
        gradients.append(alpha.grad.clone())
    torch.testing.assert_close(*values, rtol=1e-5, atol=2e-3)  # float32 has this error where ln G is some thousands
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    took = [[seconds(loss, alpha, votes, questions) for loss in (ours, pyro_loop)] for _ in range(repeats)]
    own, other = (min(times) for times in zip(*took, strict=True))
    return {
        "share_of_answers_with_votes": float((votes > 0).double().mean()),
        "images_per_second": BATCH / own,
        "images_per_second_pyro": BATCH / other,
        "ratio_to_pyro": other / own,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    schema, rng = read_schema(), np.random.default_rng(0)
    drawn = torch.from_numpy(rng.uniform(1.0, MAX_CONCENTRATION, (BATCH, len(schema.columns))))
    alpha = drawn.float().requires_grad_()
    forms = {"campaign": campaign_votes(schema, rng), "all": all_votes(schema, rng)}
    rows = {name: compare(alpha, votes, schema.slices, asked.repeats) for name, votes in forms.items()}
    counts = {"batch": BATCH, "questions": len(schema.questions), "answers": len(schema.columns)}
    if asked.json:
        print(json.dumps(counts | {"votes": rows}))
        return
    print(", ".join(f"{name} {value}" for name, value in counts.items()))
    for name, row in rows.items():
        print(f"votes: {name:10}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))


if __name__ == "__main__":
    main()
