"""Transfer: how well a few labels do on top of an encoder, beside the same encoder from random weights."""

from __future__ import annotations

__all__ = ["transfer"]

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from astrofm.data.labels import draw_labels
from astrofm.data.store import CutoutStore
from astrofm.encoders.orientations import check_orientations
from astrofm.listener import Progress
from astrofm.model import Model
from astrofm.parts import NamedEncoder, named_encoder
from astrofm.plan import make_contract
from astrofm.recipe import Recipe
from astrofm.transfer.bench import Arm, Bench, Features, check_modes, pretrained_arm, random_arm
from astrofm.transfer.finetune import FinetuneConfig
from astrofm.transfer.metrics import check_distinct, compared
from astrofm.transfer.pairing import (
    check_contract,
    check_labels_unseen,
    labelled_data,
    leave_out_test_sources,
    matching_tasks,
    sources_without_place,
)
from astrofm.transfer.report import TransferReport, TransferRow


def transfer(
    train_store: CutoutStore,
    test_store: CutoutStore,
    num_labels: int,
    *,
    model: Model | None,
    model_name: str | None = None,
    recipe: Recipe | None = None,
    task: str | None = None,
    modes: Sequence[str] = ("linear", "finetune"),
    seeds: int = 5,
    finetune_config: FinetuneConfig | None = None,
    adapt_bands: bool = False,
    resample: bool = False,
    device: str = "cpu",
    orientations: int = 1,
    listener: Progress | None = None,
) -> TransferReport:
    """Measure the test error reached with a few labels.

    Args:
        train_store: Store whose training split the labels are drawn from.
        test_store: Store whose test split is classified; all its labelled rows where it is another survey.
        num_labels: Training labels, drawn anew for each seed, stratified.
        model: Pretrained encoder; None: only the rows from random weights.
        model_name: Where it came from, for the report.
        recipe: Gives encoder and input of the random rows where there is no model.
        task: Task of the test survey's card; None: its first.
        modes: Any of ``linear``, ``knn``, ``finetune``.
        seeds: Number of draws of the labels.
        finetune_config: Protocol of fine-tuning; None: the default one.
        adapt_bands: Accept bands that the contract does not list.
        resample: Accept cutouts smaller than the field of view, and another resolution.
        device: ``cpu``, ``cuda`` or ``mps``.
        orientations: Orientations of each object, 1, 4 or 8, that embeddings and class probabilities are averaged over.
        listener: Progress.

    Raises:
        UsageError: If a mode, task or number of orientations does not exist, or the model was trained on the labels
            that it is tested on.
        ContractError: If the encoder may not be fed the data.
        DataError: If more labels are asked for than there are, or there is nothing to test on.
    """
    if model is None and recipe is None:
        raise ValueError("a transfer needs a model or a recipe")
    check_modes(modes)
    check_orientations(orientations)
    test_task, train_task = matching_tasks(test_store.card, train_store.card, task)
    train, test = labelled_data(train_store, test_store, train_task, test_task)
    unplaced = sources_without_place(train, test)
    train, left_out = leave_out_test_sources(train, test)
    if model is not None:
        check_labels_unseen(model.card, train.survey, test.survey)
        contract, architecture = model.card.contract, NamedEncoder.from_facts(model.card.encoder)
    else:
        assert recipe is not None
        contract = make_contract(recipe, [train_store])
        architecture = named_encoder(recipe.encoder)
    overrides = check_contract(contract, train_store, test_store, adapt_bands=adapt_bands, resample=resample)

    arms = [random_arm(architecture, contract.num_channels)]
    if model is not None:
        arms.insert(0, pretrained_arm(model.encoder))
    bench = Bench(
        contract, train, test, len(train_task.classes), finetune_config or FinetuneConfig(), device, orientations
    )
    pool = f"{train.survey} (training split, task {train_task.name})"
    draws = [draw_labels(train.labels, num_labels, seed, of=pool) for seed in range(seeds)]
    wrong = _errors(bench, arms, modes, draws, listener)
    rows = [_row(arm.init, mode, wrong) for mode in modes for arm in arms]
    commonest = int(np.bincount(train.labels).argmax())
    return TransferReport(
        survey=test_store.card.name,
        train_survey=train_store.card.name,
        task=test_task.name,
        classes=tuple(train_task.classes),
        labels=num_labels,
        seeds=seeds,
        orientations=orientations,
        model=model_name,
        model_step=None if model is None else model.card.step,
        mock=train_store.is_mock or test_store.is_mock or (model is not None and model.card.is_mock),
        overrides=(*overrides, *unplaced),
        left_out=left_out,
        commonest_class=tuple(train_task.classes)[commonest],
        commonest_class_error=float((test.labels != commonest).mean()),
        rows=tuple(rows),
    )


def _errors(
    bench: Bench,
    arms: Sequence[Arm],
    modes: Sequence[str],
    draws: Sequence[NDArray[np.int64]],
    listener: Progress | None,
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return, for each (init, mode), which test objects are classified wrongly. Shape: (seeds, test objects)."""
    predicted: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
    compared: dict[str, NDArray[np.float32]] = {}
    done, total = 0, len(arms) * len(modes) * len(draws)
    for arm in arms:
        features: Features | None = None
        for seed, draw in enumerate(draws):
            if seed == 0 or not arm.is_same_for_all_seeds:
                needs_features = set(modes) - {"finetune"}
                features = bench.embed(arm.make(seed)) if needs_features else None
                name = arm.init if arm.is_same_for_all_seeds else f"{arm.init}, seed {seed}"
                compared[name] = _weights(arm.make(seed)) if features is None else features[1]
            for mode in modes:
                predicted.setdefault((arm.init, mode), []).append(bench.predict(arm, mode, features, draw, seed))
                done += 1
                if listener is not None:
                    listener(done, total, f"{mode} from {arm.init} weights")
    check_distinct(compared)
    return {key: np.stack(classes) != bench.test.labels for key, classes in predicted.items()}


def _weights(encoder: nn.Module) -> NDArray[np.float32]:
    return np.concatenate([weights.detach().float().cpu().numpy().ravel() for weights in encoder.parameters()])


def _row(
    init: Literal["pretrained", "random"], mode: str, wrong: dict[tuple[str, str], NDArray[np.bool_]]
) -> TransferRow:
    errors = wrong[init, mode]
    measured = compared(errors, wrong["random", mode] if init == "pretrained" else None)
    return TransferRow(init=init, mode=mode, errors=tuple(float(value) for value in errors.mean(axis=1)), **measured)
