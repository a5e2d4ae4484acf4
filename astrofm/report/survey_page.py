"""A page about a survey, in Markdown: what its card says, beside a sheet of cutouts."""

from __future__ import annotations

__all__ = ["index_page", "survey_page", "survey_sheet"]

from collections.abc import Iterable, Sequence
from io import BytesIO

from PIL import Image, ImageOps

from astrofm.card import Archive, Band, Beam, ClassTask, Fact, Product, SurveyCard, VoteTask
from astrofm.data.fetch import is_fetchable
from astrofm.data.store import CutoutStore
from astrofm.report.contact_sheet import Sample, contact_sheet
from astrofm.schema import VoteSchema
from astrofm.survey import Survey

NUM_CUTOUTS = 8
SIDE_PIX = 128
"""Of a cutout on the sheet."""


def survey_sheet(store: CutoutStore) -> tuple[bytes, str]:
    """Return some cutouts of a store side by side as a JPEG file, and in words what is shown and how.

    Cutouts are taken from places all over the store, with North up where the survey has it up.
    """
    pictures, how = contact_sheet(store, Sample.of(store), num=NUM_CUTOUTS)
    sheet = Image.new("RGB", (SIDE_PIX * len(pictures), SIDE_PIX))
    for place, (png, _, _) in enumerate(pictures):
        picture = ImageOps.pad(Image.open(BytesIO(png)).convert("RGB"), (SIDE_PIX, SIDE_PIX))
        sheet.paste(picture, (SIDE_PIX * place, 0))
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), how


def survey_page(survey: Survey, picture: str, caption: str) -> str:
    """Return the page of a survey.

    Args:
        survey: With its card and vote schema.
        picture: Name of the sheet's file, beside the page.
        caption: What the sheet shows.
    """
    card = survey.card
    parts = [
        f"# {card.name}: {card.title}",
        f"![Cutouts of {card.name}]({picture})",
        caption,
        f"Reference: {card.reference}",
        "## The data",
        _table(("fact", "value", "source"), _facts(card)),
        "## Products",
        _table(("product", "files", "cutout (band, y, x)", "pixels", "constants measured on"), _products(card)),
        "## Labels and splits",
        *_labels(card, survey.votes),
        f"Splits: {card.splits.scheme}. {_sentence(card.splits.how)}".rstrip(),
        *([_transfer(card)] if card.transfer is not None else []),
        "## What is hard",
        card.hard.strip(),
        "## Get it",
        *(_archive(archive) for archive in card.archive),
        _commands(card),
        "## Cite",
        f"```bibtex\n{card.citation.strip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def index_page(surveys: Iterable[Survey]) -> str:
    """Return the page that leads to those of all surveys."""
    rows = [
        (
            f"[{survey.name}]({survey.name}.md)",
            survey.card.domain,
            survey.card.title,
            ", ".join(task.name for task in survey.card.tasks) or "none",
        )
        for survey in sorted(surveys, key=lambda survey: survey.name)
    ]
    return "\n\n".join(
        [
            "# Surveys",
            "A page for each survey, written by `astrofm survey page` from its card, which gives the source of every "
            "fact.",
            _table(("survey", "domain", "what", "tasks"), rows),
            "",
        ]
    )


def _facts(card: SurveyCard) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = [("domain", card.domain, "")]
    for band, before in zip(card.bands, (None, *card.bands), strict=False):
        is_told = before is not None and band.source and band.source == before.source
        rows.append((f"band {band.name}", _lies_at(band), "as above" if is_told else band.source))
    for name, unit in (("pixel_scale_arcsec", "arcsec"), ("field_of_view_arcsec", "arcsec")):
        rows.append(_fact(name.removesuffix("_arcsec").replace("_", " "), getattr(card, name), unit))
    if card.beam is not None:
        rows.append(_fact("beam (FWHM)", card.beam, ""))
    if card.psf_fwhm_arcsec is not None:
        rows.append(_fact("PSF (FWHM)", card.psf_fwhm_arcsec, "arcsec"))
    is_stated = "orientation" in card.model_fields_set
    rows.append(("orientation", card.orientation, "" if is_stated else "assumed: the card does not say"))
    return rows


def _lies_at(band: Band) -> str:
    place = f"{band.wavelength_nm:g} nm" if band.frequency_hz is None else f"{band.frequency_hz / 1e9:g} GHz"
    return f"{place}, in {band.unit}"


def _fact(name: str, fact: Fact[float] | Fact[Beam], unit: str) -> tuple[str, str, str]:
    if fact.value is None:
        return name, "unknown", fact.unknown
    if isinstance(fact.value, Beam):
        beam = fact.value
        return name, f"{beam.bmaj_arcsec:g} x {beam.bmin_arcsec:g} arcsec, {beam.bpa_deg:g} deg", fact.source
    return name, f"{fact.value:g} {unit}".strip(), fact.source


def _products(card: SurveyCard) -> list[tuple[str, ...]]:
    return [
        (name, f"`{product.pattern}`", str(product.shape), _pixels(product), product.input.measured_on)
        for name, product in card.products.items()
    ]


def _pixels(product: Product) -> str:
    stretch = f"stretched ({product.stretch_applied})" if product.stretch_applied else ""
    return ", ".join(filter(None, (product.dtype, product.unit, stretch)))


def _labels(card: SurveyCard, votes: VoteSchema | None) -> list[str]:
    parts = []
    if votes is not None:
        parts.append(f"Votes: `{votes.name}`, {len(votes.questions)} questions, {len(votes.columns)} answers.")
    if card.tasks:
        parts.append(_table(("task", "what", "classes"), [(t.name, t.title, _classes(t)) for t in card.tasks]))
    return parts or ["There are no labels: for pretraining, similarity search and maps."]


def _classes(task: ClassTask | VoteTask) -> str:
    where = task.column if isinstance(task, ClassTask) else task.question
    named = (f"{name} ({', '.join(map(str, values))})" for name, values in task.classes.items())
    return f"{where}: {', '.join(named)}"


def _transfer(card: SurveyCard) -> str:
    assert card.transfer is not None
    return f"`astrofm transfer` takes its labels from {card.transfer.train} and tests on {card.transfer.test}."


def _archive(archive: Archive) -> str:
    said = [f"**{archive.name}**"]
    said += [f"<{archive.url}>" if archive.url.startswith("http") else f"`{archive.url}`"] if archive.url else []
    said += [f"<{archive.page}>"] if archive.page else []
    if archive.size_bytes is not None:
        said.append(f"{archive.size_bytes / 1e6:.1f} MB")
    line = ", ".join(said) + "."
    line += f" Licence: {_sentence(archive.licence)}" if archive.licence else ""
    return f"- {line} {_sentence(archive.note)}".rstrip()


def _commands(card: SurveyCard) -> str:
    lines = [f"astrofm ingest --survey {card.name} --mock 200"]
    lines += [f"astrofm survey fetch {card.name}"] if is_fetchable(card) else []
    lines += [f"astrofm ingest --survey {card.name} --source FOLDER", f"astrofm pretrain --survey {card.name}"]
    if card.tasks:
        lines.append(f"astrofm transfer --survey {card.name} --labels 145")
    return "```\n" + "\n".join(lines) + "\n```"


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[_cell(text) for text in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
