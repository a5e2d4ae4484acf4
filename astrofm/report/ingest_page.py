"""What an ingest has made, on one page: counts, what was rejected and why, distributions, pictures, provenance.

The page holds no path and no time: equal stores give equal pages.
"""

from __future__ import annotations

__all__ = ["ingest_report", "write_ingest_report"]

from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np

from astrofm.data.splits import SPLITS
from astrofm.data.store import CutoutStore, read_rejected, store_info
from astrofm.data.store_files import is_url
from astrofm.errors import StoreError
from astrofm.report.contact_sheet import Sample, contact_sheet, label_texts
from astrofm.report.distributions import histogram_svg, sky_svg
from astrofm.report.page import Section, command, figure, gallery, page, paragraph, side_by_side, table

BANNER = "Mock data from a sky model: no number on this page is a measurement of the sky."

_HISTOGRAMS = {
    "rms": "noise ({unit})",
    "pixel_scale": "pixel scale (arcsec)",
    "bmaj": "beam, major axis (arcsec)",
    "bmin": "beam, minor axis (arcsec)",
    "size_x": "width before cropping or padding (pixels)",
    "size_y": "height before cropping or padding (pixels)",
    "z_spec": "redshift, spectroscopic",
    "z_phot": "redshift, photometric",
    "ebv": "reddening E(B-V) (mag)",
}
"""Columns that are drawn where a catalogue has them, and what they are."""

_MANY = 12
"""Rows of a table that are shown; more are counted."""


def write_ingest_report(path: Path | str, out: Path | None = None) -> Path:
    """Write the page of a store.

    Args:
        path: Folder or URL of the store; it is left as it is.
        out: HTML file; by default ``STORE.report.html`` beside the store, or where you are for a URL.

    Returns:
        The file.

    Raises:
        StoreError: If there is no store, or the page cannot be written.
    """
    name = Path(str(path).rstrip("/")).name if is_url(path) else str(path).rstrip("/")
    target = Path(f"{name}.report.html") if out is None else out
    html = ingest_report(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"the report {target} cannot be written ({error.strerror or error}): choose another file with --out"
        ) from error
    return target


def ingest_report(path: Path | str) -> str:
    """Return the page of a store as HTML.

    Pixels are looked at in a few hundred cutouts from places all over the store, everything else in all of them.

    Args:
        path: Folder or URL of the store.

    Raises:
        StoreError: If there is no store.
    """
    store = CutoutStore.open(path)
    sample = Sample.of(store)
    sections = [
        Section("Counts", _counts(store)),
        Section("Rejected", _rejected(store)),
        Section("Pictures", _pictures(store, sample)),
        Section("Splits and labels", _labels(store)),
        Section("On the sky", _sky(store)),
        Section("Distributions", _distributions(store, sample)),
        Section("Provenance", _provenance(store)),
    ]
    rejected = sum(store.manifest.rejected.values())
    mock = " (mock)" if store.is_mock else ""
    return page(
        f"{store.card.title}{mock}",
        sections,
        subtitle=f"A store of {len(store):,} cutouts; rows of the catalogue that were rejected: {rejected:,}.",
        banner=BANNER if store.is_mock else "",
        footer=f"astrofm {version('astrofm')}, store {store.content_hash}. Made by `astrofm store report`.",
    )


def _counts(store: CutoutStore) -> str:
    num, num_bands, ny, nx = store.shape
    taken_of = num + sum(store.manifest.rejected.values())
    rows = [
        ("cutouts", f"{num:,} of {taken_of:,} catalogue rows ({100 * num / taken_of:.1f}%)"),
        ("size", f"{num_bands} band{'s' if num_bands > 1 else ''} of {ny} x {nx} pixels, {store.dtype}"),
        ("bands", ", ".join(store.card.band_names)),
        ("unit", store.product.unit),
        ("product", store.product_name),
        ("masks", "yes" if store.manifest.has_mask else "none"),
        ("files", f"{len(store.manifest.pieces) + 1}, {store_info(store.path)['bytes'] / 1e6:,.1f} MB"),
    ]
    return table(("", "what is stored"), rows)


def _rejected(store: CutoutStore) -> str:
    if not store.manifest.rejected:
        return paragraph("Every row of the catalogue was taken.")
    entries = read_rejected(store.path).to_pylist()
    examples = {entry["reason"]: entry for entry in reversed(entries)}
    rows = [
        (reason, f"{count:,}", _example(examples[reason]))
        for reason, count in sorted(store.manifest.rejected.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
    told = "A rejected row has no pixels here; astrofm store info STORE --rejected lists them all."
    return table(("reason", "rows", "first of them"), rows) + paragraph(told)


def _example(entry: dict[str, str]) -> str:
    said = entry["detail"] or entry["file"]
    return f"{entry['id_str']}: {said}" if said else entry["id_str"]


def _pictures(store: CutoutStore, sample: Sample) -> str:
    pictures, how = contact_sheet(store, sample)
    return paragraph(how) + gallery(pictures)


def _labels(store: CutoutStore) -> str:
    splits = store.catalog.column("split") if "split" in store.catalog.columns else np.full(len(store), "train")
    names = [name for name in SPLITS if (splits == name).any()]
    rule = store.card.splits
    told = paragraph(f"Splits: {rule.scheme}{f' ({rule.how})' if rule.how else ''}.")
    if "label" not in store.catalog.columns:
        numbers = [(name, f"{(splits == name).sum():,}") for name in names]
        return told + table(("split", "cutouts"), numbers) + _votes(store)
    labels = np.array(label_texts(store))
    counted = Counter(labels.tolist()).most_common()
    rows: list[tuple[str, ...]] = []
    for label, total in counted[:_MANY]:
        shares = (((splits == name) & (labels == label)).sum() for name in names)
        rows.append((label or "none", *(f"{share:,}" for share in shares), f"{total:,}"))
    rows.append(("all", *(f"{(splits == name).sum():,}" for name in names), f"{len(store):,}"))
    caption = f"{len(counted) - _MANY} more labels are not shown." if len(counted) > _MANY else ""
    return told + table(("label", *names, "all"), rows, caption=caption) + _votes(store)


def _votes(store: CutoutStore) -> str:
    if store.votes is None:
        return ""
    columns = [name for name in store.votes.columns if name in store.catalog.columns]
    totals = np.sum([np.nan_to_num(store.measured(name)) for name in columns], axis=0) if columns else np.zeros(1)
    with_votes = totals[totals > 0]
    median = f", {np.median(with_votes):,.0f} answers each in the median" if with_votes.size else ""
    return paragraph(
        f"Votes: schema {store.votes.name}, {len(columns)} of {len(store.votes.columns)} answers have a column; "
        f"{with_votes.size:,} cutouts have votes{median}."
    )


def _sky(store: CutoutStore) -> str:
    ra, dec = store.measured("ra"), store.measured("dec")
    num_unknown = int(np.isnan(ra).sum())
    if num_unknown == len(store):
        return paragraph("No cutout has a position.")
    unknown = f" {num_unknown:,} have no position." if num_unknown else ""
    return figure(
        sky_svg(ra, dec, "Positions of the cutouts"),
        f"Where the cutouts lie, ICRS, East to the left; the darker, the more.{unknown}",
    )


def _distributions(store: CutoutStore, sample: Sample) -> str:
    figures, constant = [], []
    for name, what in _HISTOGRAMS.items():
        values = store.measured(name)
        label = what.format(unit=store.product.unit)
        known = values[np.isfinite(values)]
        if known.size and known.min() == known.max():
            constant.append((label, f"{known[0]:g}"))
        elif known.size:
            missing = f"; {len(values) - known.size:,} cutouts have none" if known.size < len(values) else ""
            figures.append(figure(histogram_svg(known, label, label), f"Column {name}{missing}."))
    share = 100 * sample.missing
    if share.max() > 0:
        caption = f"Measured on {len(sample.rows)} cutouts."
        figures.append(figure(histogram_svg(share, "missing pixels (%)", "missing pixels"), caption))
    else:
        constant.append((f"missing pixels (%), of {len(sample.rows)} cutouts", "0"))
    same = table(("the same for all cutouts that have it", "value"), constant) if constant else ""
    return side_by_side(figures) + same + _brightness(store, sample)


def _brightness(store: CutoutStore, sample: Sample) -> str:
    rows = []
    for number, band in enumerate(store.card.band_names):
        pixels = sample.known_pixels(number)
        if pixels.size:
            levels = np.percentile(pixels, (0, 1, 50, 99, 100))
            rows.append((band, *(f"{level:.4g}".replace("-", "\N{MINUS SIGN}") for level in levels)))
    caption = f"Pixel values in {store.product.unit}, of {len(sample.rows)} cutouts."
    return table(("band", "least", "1%", "median", "99%", "greatest"), rows, caption=caption)


def _provenance(store: CutoutStore) -> str:
    made_from = store.manifest.made_from
    archives = [": ".join(filter(None, (a.name, a.url or a.note, a.licence))) for a in store.card.archive]
    files = [(f.name, f"{f.size_bytes:,}", f.sha256[:16]) for f in made_from.sources]
    more = f"{len(files) - _MANY:,} more files, {sum(f.size_bytes for f in made_from.sources):,} bytes in all. "
    versions = ", ".join(f"{name} {number}" for name, number in sorted(store.manifest.versions.items()))
    changed = {key: value for key, value in made_from.options.model_dump().items() if value}
    parts = [paragraph(f"Survey {store.card.name!r}; facts from {store.card.reference}. {store.card.hard}")]
    parts += [paragraph(f"Archive: {archive}") for archive in archives]
    if made_from.merged_from:
        merged = [(part.content_sha256[:16], f"{part.num_cutouts:,}") for part in made_from.merged_from]
        parts.append(table(("merged from the store", "cutouts"), merged))
    caption = (more if len(files) > _MANY else "") + "The manifest has all hashes in full."
    parts.append(table(("file read", "bytes", "sha256 begins"), files[:_MANY], caption=caption))
    options = ", ".join(f"{key} {value}" for key, value in changed.items()) or "none"
    parts.append(paragraph(f"Options of the ingest: {options}. Written by {versions}."))
    return "".join(parts) + command(store.card.citation)
