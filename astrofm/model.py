"""A model folder: weights, architecture, and what an input must look like.

``model.safetensors``, ``config.json`` (timm architecture), ``astrofm.json`` (input contract, training stores, metrics),
``README.md`` and ``CITATION.bib``. Nothing in it is a pickle.
"""

from __future__ import annotations

__all__ = ["Model", "ModelCard", "read_card", "rebuild_encoder"]

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from astrofm.contract import InputContract
from astrofm.data.supervision import LabelKind
from astrofm.encoders.build import embed_dim_of
from astrofm.errors import RecipeError, RunError, UnknownNameError, in_one_line
from astrofm.parts import NamedEncoder

WEIGHTS, ARCHITECTURE, CARD = "model.safetensors", "config.json", "astrofm.json"
CITATION = "CITATION.bib"


class ModelCard(BaseModel):
    """What is stored with the weights, and checked whenever they meet data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    contract: InputContract
    encoder: dict[str, Any]
    """Name and settings of the encoder, see :class:`astrofm.parts.NamedEncoder`."""
    objective: str
    step: int
    """Optimiser steps the weights have seen."""
    num_steps: int
    """Optimiser steps of the whole run."""
    surveys: tuple[str, ...]
    stores: dict[str, str]
    """Hash of each training store's manifest, by survey."""
    label_kind: LabelKind | None = None
    """What kind of labels it was trained on; None: none."""
    labelled_splits: dict[str, tuple[str, ...]] = {}
    """Splits whose labels it was trained on, by survey."""
    is_mock: bool
    seed: int
    metrics: dict[str, float] = {}
    astrofm_version: str

    @property
    def is_finished(self) -> bool:
        """Whether the run that made the weights came to its end."""
        return self.step >= self.num_steps


@dataclass(frozen=True)
class Model:
    """An encoder and its card.

    Attributes:
        encoder: Network from (batch, channel, y, x) to (batch, embed_dim).
        card: The facts stored beside it.
    """

    encoder: nn.Module
    card: ModelCard

    def save(self, folder: Path, citation: str = "") -> None:
        """Write the folder; it appears whole or not at all.

        Args:
            folder: Where to; an older model there is replaced.
            citation: BibTeX of the surveys it was trained on.
        """
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.encoder.state_dict().items()}
        save_file(weights, partial / WEIGHTS)
        architecture = {
            "architecture": self.card.encoder["name"],
            "num_classes": 0,
            "num_features": embed_dim_of(self.encoder),
            "in_chans": self.card.contract.num_channels,
        }
        (partial / ARCHITECTURE).write_text(json.dumps(architecture, indent=2) + "\n")
        (partial / CARD).write_text(self.card.model_dump_json(indent=2) + "\n")
        (partial / "README.md").write_text(_readme(self.card))
        (partial / CITATION).write_text(citation)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)  # noqa: PTH105 - Path.replace says nothing about folders

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read a model folder.

        Raises:
            RunError: If a file is missing or damaged, or the weights are of another architecture.
        """
        missing = [name for name in (CARD, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise RunError(f"{folder} is no model folder: {' and '.join(missing)} is missing")
        card = read_card(folder)
        try:
            weights = load_file(folder / WEIGHTS)
        except SafetensorError as error:
            raise RunError(f"model {folder} is damaged: {error}") from error
        return cls(rebuild_encoder(card, weights, str(folder)), card)


def read_card(folder: Path) -> ModelCard:
    """Read the card of a model folder, without its weights.

    Raises:
        RunError: If it is not one.
    """
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_text())
        with suppress(UnknownNameError):  # of a package that is not here: told where the encoder is built
            NamedEncoder.from_facts(card.encoder)
    except FileNotFoundError as error:
        raise RunError(f"{folder} is no model folder: {CARD} is missing") from error
    except ValidationError as error:
        raise RunError(f"model {folder} is damaged: {in_one_line(error)}") from error
    except RecipeError as error:
        raise RunError(f"model {folder} is damaged: {error}") from error
    return card


def rebuild_encoder(card: ModelCard, weights: dict[str, torch.Tensor], where: str) -> nn.Module:
    """Return the encoder a card describes, with the given weights, in eval mode.

    Raises:
        RunError: If the weights are those of another architecture.
    """
    encoder = NamedEncoder.from_facts(card.encoder).build(card.contract.num_channels)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"the weights in {where} are not those of {card.encoder['name']!r}") from error
    return encoder.eval()


def _readme(card: ModelCard) -> str:
    mock = "\n**Trained on mock data: for trying out, not for science.**\n" if card.is_mock else ""
    channels = ", ".join(f"{channel.name} ({' or '.join(channel.accepts)})" for channel in card.contract.channels)
    return (
        f"---\nlibrary_name: astrofm\ntags: [astronomy, self-supervised]\n---\n\n# {card.name}\n{mock}\n"
        f"{card.encoder['name']} trained with {card.objective} on {', '.join(card.surveys)}, "
        f"{card.step} of {card.num_steps} steps, seed {card.seed}, astrofm {card.astrofm_version}.\n\n"
        f"Input: {card.contract.size_pix} x {card.contract.size_pix} px, field of view "
        f"{card.contract.field_of_view_arcsec} arcsec, channels {channels}.\n\n"
        "Load it with `astrofm.model.Model.load(folder)`; cite the surveys as in `CITATION.bib`.\n"
    )
