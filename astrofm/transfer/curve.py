"""Error against labels for several models: what arXiv 2305.16127 weighs as compute, labels and accuracy.

A curve is made of cells, one for each (weights, mode, number of labels, seed). Each is kept on disk as soon as it is
measured, under a hash of all that it depends on: a curve that was stopped, or is asked for with more seeds, labels or
models, measures what is missing.
"""

from __future__ import annotations

__all__ = ["Entrant", "measure_curve"]

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from astrofm.data.labels import draw_labels
from astrofm.data.making.partial import write_atomically
from astrofm.data.store import CutoutStore
from astrofm.encoders.orientations import check_orientations
from astrofm.errors import DataError, UsageError
from astrofm.listener import Progress
from astrofm.model import Model
from astrofm.parts import NamedEncoder
from astrofm.transfer.bench import Arm, Bench, Features, check_modes, pretrained_arm, random_arm
from astrofm.transfer.curve_report import CurveReport, CurveRow
from astrofm.transfer.finetune import FinetuneConfig
from astrofm.transfer.metrics import compared
from astrofm.transfer.pairing import (
    check_contract,
    check_labels_unseen,
    labelled_data,
    leave_out_test_sources,
    matching_tasks,
    sources_without_place,
    training_data,
)


@dataclass(frozen=True)
class Entrant:
    """A model that enters, and what it cost.

    Attributes:
        model: Encoder and card.
        cutouts_seen: Cutouts that its pretraining saw, each as often as it came; None where unknown.
    """

    model: Model
    cutouts_seen: int | None = None


def measure_curve(
    train_store: CutoutStore,
    test_store: CutoutStore,
    labels: Sequence[int],
    entrants: Mapping[str, Entrant],
    *,
    cells: Path,
    task: str | None = None,
    modes: Sequence[str] = ("linear", "finetune"),
    seeds: int = 5,
    folds: int = 0,
    finetune_config: FinetuneConfig | None = None,
    adapt_bands: bool = False,
    resample: bool = False,
    device: str = "cpu",
    orientations: int = 1,
    listener: Progress | None = None,
) -> CurveReport:
    """Measure the error of several models with several numbers of labels, each beside random weights.

    The labels of a seed are nested: those of a smaller number are among those of a larger one, and all models get the
    same.

    Args:
        train_store: Store whose training split the labels are drawn from.
        test_store: Store whose test split is classified; all its labelled rows where it is another survey.
        labels: Numbers of training labels.
        entrants: Models by name.
        cells: Folder of what was measured before and is now.
        task: Task of the test survey's card; None: its first.
        modes: Any of ``linear``, ``knn``, ``finetune``.
        seeds: Number of draws of the labels.
        folds: Where not 0, the training split is divided into as many folds, anew for each seed; each is classified
            with labels from the others, and the test split is not touched. For choosing between recipes.
        finetune_config: Protocol of fine-tuning; None: the default one.
        adapt_bands: Accept bands that a contract does not list.
        resample: Accept cutouts smaller than the field of view, and another resolution.
        device: ``cpu``, ``cuda`` or ``mps``.
        orientations: Orientations of each object, 1, 4 or 8, that embeddings and class probabilities are averaged over.
        listener: Progress.

    Raises:
        UsageError: If a mode, task or number of orientations does not exist, a number of labels is no curve, folds
            are asked for across surveys, or a model was trained on the labels that it is tested on.
        ContractError: If an encoder may not be fed the data.
        DataError: If more labels are asked for than there are, or there is nothing to test on.
    """
    check_modes(modes)
    check_orientations(orientations)
    if not labels or min(labels) < 2 or not entrants:
        raise UsageError("a curve needs a model or more, and numbers of labels of 2 or more")
    test_task, train_task = matching_tasks(test_store.card, train_store.card, task)
    same = train_store.card.name == test_store.card.name
    if folds and not (same and folds > 1):
        raise UsageError(
            f"{folds} folds were asked for, of {train_store.card.name!r} and {test_store.card.name!r}: "
            "folds divide the training split of one survey into 2 or more parts"
        )
    overrides: dict[str, None] = {}
    if folds:
        train = training_data(train_store, train_task)
        test, left_out = train, 0
    else:
        train, test = labelled_data(train_store, test_store, train_task, test_task)
        overrides |= dict.fromkeys(sources_without_place(train, test))
        train, left_out = leave_out_test_sources(train, test)
    _check_distinct({name: entrant.model for name, entrant in entrants.items()})
    about = {
        "astrofm": version("astrofm"),
        "tasks": [task.model_dump(mode="json") for task in (train_task, test_task)],
        "stores": [_facts_of(store) for store in (train_store, test_store)],
        "folds": folds,
    }
    curve = _Curve(cells, about, tuple(sorted(set(labels))), tuple(modes), seeds, folds, listener)
    rows: list[CurveRow] = []
    for name, entrant in entrants.items():
        card = entrant.model.card
        check_labels_unseen(card, train.survey, test.survey, folds=folds > 0)
        found = check_contract(card.contract, train_store, test_store, adapt_bands=adapt_bands, resample=resample)
        overrides |= dict.fromkeys(found)
        num_classes = len(train_task.classes)
        protocol = finetune_config or FinetuneConfig()
        bench = Bench(card.contract, train, test, num_classes, protocol, device, orientations)
        rows += curve.rows(name, entrant, bench, num_entrants=len(entrants))
    return CurveReport(
        survey=test_store.card.name,
        train_survey=train_store.card.name,
        task=test_task.name,
        classes=tuple(train_task.classes),
        folds=folds,
        orientations=orientations,
        mock=any(store.is_mock for store in (train_store, test_store))
        or any(entrant.model.card.is_mock for entrant in entrants.values()),
        overrides=tuple(overrides),
        left_out=left_out,
        rows=tuple(rows),
    )


class _Curve:
    """Measures cells, keeps them, and puts them together."""

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        labels: Sequence[int],
        modes: Sequence[str],
        seeds: int,
        folds: int,
        listener: Progress | None,
    ) -> None:
        self._folder, self._about, self._labels, self._modes = folder, about, labels, modes
        self._seeds, self._folds, self._listener = seeds, folds, listener
        self._done = 0

    def rows(self, name: str, entrant: Entrant, bench: Bench, *, num_entrants: int) -> list[CurveRow]:
        """Return the rows of a model and of random weights of its architecture."""
        card = entrant.model.card
        architecture = NamedEncoder.from_facts(card.encoder)
        arms = {
            weights_sha256(entrant.model.encoder): pretrained_arm(entrant.model.encoder),
            f"random {json.dumps(architecture.facts(), sort_keys=True)}": random_arm(
                architecture, card.contract.num_channels
            ),
        }
        total = num_entrants * len(arms) * self._seeds
        wrong: dict[tuple[str, str, int], list[NDArray[np.bool_]]] = {}
        for identity, arm in arms.items():
            embedded = _Embedded(arm, bench)
            for seed in range(self._seeds):
                for key, outcome in self._of_seed(identity, embedded, seed).items():
                    wrong.setdefault((arm.init, *key), []).append(outcome)
                self._done += 1
                if self._listener is not None:
                    self._listener(self._done, total, f"{name}, {arm.init} weights")
        flop = forward_flop(entrant.model.encoder, (card.contract.num_channels, *2 * (card.contract.size_pix,)))
        stacked = {key: np.stack(outcomes) for key, outcomes in wrong.items()}
        return [
            _row(name, arm.init, mode, num, stacked, entrant.cutouts_seen if arm.init == "pretrained" else 0, flop)
            for mode in self._modes
            for num in self._labels
            for arm in arms.values()
        ]

    def _of_seed(self, identity: str, embedded: _Embedded, seed: int) -> dict[tuple[str, int], NDArray[np.bool_]]:
        """Return for each (mode, number of labels) which test objects are wrong; measure what is not on disk."""
        found: dict[tuple[str, int], NDArray[np.bool_]] = {}
        for mode in self._modes:
            for num in self._labels:
                digest = self._digest(identity, embedded.bench, mode, num, seed)
                cell = self._folder / f"{mode}-{num}-{seed}-{digest}.npy"
                if not cell.exists():
                    wrong = self._measured(embedded, mode, num, seed)
                    write_atomically(cell, partial(np.save, arr=wrong, allow_pickle=False))
                found[mode, num] = np.load(cell, allow_pickle=False)
        return found

    def _digest(self, identity: str, bench: Bench, mode: str, num: int, seed: int) -> str:
        """Return a hash of all that a cell depends on."""
        protocol = bench.finetune_config.model_dump(mode="json") if mode == "finetune" else None
        contract = bench.contract.model_dump(mode="json")
        parts = [self._about, identity, contract, bench.device, bench.orientations, mode, num, seed, protocol]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _measured(self, embedded: _Embedded, mode: str, num: int, seed: int) -> NDArray[np.bool_]:
        """Return which test objects are classified wrongly. Shape: (test objects,)."""
        arm, bench = embedded.arm, embedded.bench
        features = None if mode == "finetune" else embedded.of(seed)
        of = f"{bench.train.survey} (training split)"
        if not self._folds:
            draw = draw_labels(bench.train.labels, num, seed, of=of)
            is_wrong: NDArray[np.bool_] = bench.predict(arm, mode, features, draw, seed) != bench.test.labels
            return is_wrong
        fold = folds_of(bench.train.labels, self._folds, seed)
        wrong = np.zeros(len(fold), dtype=bool)
        for number in range(self._folds):
            rest, tested = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            part = replace(bench, train=bench.train.take(rest), test=bench.train.take(tested))
            own = None if features is None else (features[0][rest], features[0][tested])
            draw = draw_labels(part.train.labels, num, seed, of=f"{of} without a fold of {self._folds}")
            wrong[tested] = part.predict(arm, mode, own, draw, seed) != part.test.labels
        return wrong


class _Embedded:
    """What the encoders of an arm make of the data, made when it is needed."""

    def __init__(self, arm: Arm, bench: Bench) -> None:
        self.arm, self.bench = arm, bench
        self._features: tuple[int, Features] | None = None

    def of(self, seed: int) -> Features:
        """Return the features of a seed; those of a pretrained encoder are the same for all."""
        wanted = 0 if self.arm.is_same_for_all_seeds else seed
        if self._features is None or self._features[0] != wanted:
            self._features = (wanted, self.bench.embed(self.arm.make(wanted)))
        return self._features[1]


def _check_distinct(models: Mapping[str, Model]) -> None:
    """Refuse a curve in which two names stand for the same weights."""
    seen: dict[str, str] = {}
    for name, model in models.items():
        other = seen.setdefault(weights_sha256(model.encoder), name)
        if other != name:
            raise UsageError(f"the models {other!r} and {name!r} have the same weights: leave one of them out")


def folds_of(labels: NDArray[np.int64], num_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, each fold with its share of each class.

    Args:
        labels: Class of each row. Shape: (n,).
        num_folds: Number of folds.
        seed: Of the division.

    Raises:
        DataError: If a class has fewer rows than there are folds.
    """
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.random.default_rng([seed, int(label), num_folds]).permutation(np.flatnonzero(labels == label))
        if len(rows) < num_folds:
            raise DataError(f"class {label} has {len(rows)} labelled rows, too few for {num_folds} folds")
        fold[rows] = np.arange(len(rows)) % num_folds
    return fold


def weights_sha256(encoder: nn.Module) -> str:
    """Return a hash of the weights and buffers of an encoder."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _facts_of(store: CutoutStore) -> list[Any]:
    """Return what the pixels, labels and input of a store depend on: its content, card, product and vote schema."""
    made_from = store.manifest.made_from
    return [store.content_hash, made_from.model_dump(mode="json", include={"card", "product", "votes", "options"})]


def forward_flop(encoder: nn.Module, shape: Sequence[int]) -> int:
    """Return the floating-point operations of one forward pass for one image of a shape (channel, y, x)."""
    from torch.utils.flop_counter import FlopCounterMode

    probe = copy.deepcopy(encoder).eval().cpu()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe(torch.zeros(1, *shape))
    return int(counter.get_total_flops())


def _row(
    name: str,
    init: Literal["pretrained", "random"],
    mode: str,
    num: int,
    wrong: Mapping[tuple[str, str, int], NDArray[np.bool_]],
    cutouts_seen: int | None,
    flop: int,
) -> CurveRow:
    errors = wrong[init, mode, num]
    measured = compared(errors, wrong["random", mode, num] if init == "pretrained" else None)
    return CurveRow(
        model=name,
        init=init,
        mode=mode,
        labels=num,
        seeds=len(errors),
        cutouts_seen=cutouts_seen,
        encoder_flop=flop,
        **measured,
    )
