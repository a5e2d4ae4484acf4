import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astrofm.data.cutouts import Cutout, Rejected
from astrofm.data.files.bands import read_bands
from astrofm.data.files.placement import Position
from astrofm.forms import Extensions

RA, DEC, SCALE_ARCSEC, SIZE_PIX, SIGMA_ARCSEC = 150.0, 2.0, 1.0, 40, 2.5


def grid(*, size_pix=SIZE_PIX, scale_arcsec=SCALE_ARCSEC, turn_deg=0.0, shift_pix=(0.0, 0.0), parity=-1, **cards):
    turn, scale = np.radians(turn_deg), scale_arcsec / 3600
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": RA, "CRVAL2": DEC, "BUNIT": "nanomaggy"}
    )
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([parity, 1])
    header["CRPIX1"], header["CRPIX2"] = ((size_pix + 1) / 2 + shift for shift in shift_pix)
    for i, row in enumerate(matrix, 1):
        for j, value in enumerate(row, 1):
            header[f"CD{i}_{j}"] = value
    for key, value in cards.items():
        header[key] = value
    return header


def source(header, size_pix, *, ra=RA, dec=DEC, flux=1.0):
    """Return a Gaussian of one flux and size on the sky, per pixel."""
    wcs = WCS(header)
    x, y = wcs.wcs_world2pix([[ra, dec]], 0)[0]
    scale_arcsec = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600
    sigma = SIGMA_ARCSEC / scale_arcsec
    rows, columns = np.mgrid[:size_pix, :size_pix]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return (flux * blob / (2 * np.pi * sigma**2)).astype(np.float32)


def write(path, data, header):
    fits.PrimaryHDU(data, header).writeto(path, overwrite=True)
    return path


def read(*paths, unit="nanomaggy", **options):
    return read_bands(paths, unit=unit, extensions=Extensions(), **options)


def centroid(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = np.nan_to_num(image)
    return (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()


def test_bands_on_one_grid_keep_their_pixels_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (3, SIZE_PIX, SIZE_PIX)).astype(np.float32)
    data[:, 20, 20], data[:, 10, 10] = 1e12, np.nan  # any weight of a neighbour would show
    turned = grid()
    # The same grid in other words: PC and CDELT for CD, a reference pixel moved with its position.
    other = grid()
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del other[key]
    other["CDELT1"], other["CDELT2"] = turned["CD1_1"], turned["CD2_2"]
    # The same pixels written in reverse: East to the right.
    mirrored = grid(parity=1)
    paths = [
        write(tmp_path / "g.fits", data[0], turned),
        write(tmp_path / "r.fits", data[1], other),
        write(tmp_path / "i.fits", data[2][:, ::-1], mirrored),
    ]
    cutout = read(*paths)
    np.testing.assert_array_equal(cutout.image, data)
    assert cutout.meta["pixel_scale"] == pytest.approx(SCALE_ARCSEC)
    assert "rms" not in cutout.meta
    assert cutout.wcs.wcs.crpix.tolist() == [(SIZE_PIX + 1) / 2] * 2


@settings(deadline=None, max_examples=15)
@given(
    st.floats(0.5, 2.0),
    st.floats(-180, 180),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.sampled_from([-1, 1]),
    st.floats(-4, 4),
    st.floats(-4, 4),
)
def test_flux_and_position_are_conserved_between_grids(tmp_path_factory, scale, turn, dx, dy, parity, east, north):
    folder = tmp_path_factory.mktemp("bands")
    ra, dec = RA + east / 3600 / np.cos(np.radians(DEC)), DEC + north / 3600
    size_pix = int(60 / scale)
    header = grid(size_pix=size_pix, scale_arcsec=scale, turn_deg=turn, shift_pix=(dx, dy), parity=parity)
    first = write(folder / "g.fits", source(grid(), SIZE_PIX, ra=ra, dec=dec), grid())
    second = write(folder / "r.fits", source(header, size_pix, ra=ra, dec=dec, flux=3.0), header)
    cutout = read(first, second)
    assert np.nansum(cutout.image[1]) == pytest.approx(3.0, rel=2e-3)
    expected = cutout.wcs.wcs_world2pix([[ra, dec]], 0)[0]
    for band in cutout.image:
        assert centroid(band) == pytest.approx(tuple(expected), abs=0.02)


def test_a_brightness_keeps_its_value_whatever_the_size_of_the_pixels(tmp_path):
    header = grid(size_pix=80, scale_arcsec=0.7, turn_deg=20.0, BUNIT="MJy/sr")
    first = write(tmp_path / "a.fits", np.full((SIZE_PIX, SIZE_PIX), 5.0), grid(BUNIT="MJy/sr"))
    second = write(tmp_path / "b.fits", np.full((80, 80), 7.0), header)
    image = read(first, second, unit="MJy/sr").image[1]
    np.testing.assert_allclose(image[np.isfinite(image)], 7.0, rtol=1e-6)
    per_pixel = read(
        write(tmp_path / "c.fits", np.full((SIZE_PIX, SIZE_PIX), 5.0), grid()),
        write(tmp_path / "d.fits", np.full((80, 80), 7.0), grid(size_pix=80, scale_arcsec=0.7, turn_deg=20.0)),
    ).image[1]
    np.testing.assert_allclose(per_pixel[np.isfinite(per_pixel)], 7.0 / 0.49, rtol=1e-3)


def test_outside_the_footprint_and_around_flagged_pixels_nothing_was_observed(tmp_path):
    small = source(grid(size_pix=20, shift_pix=(0.5, 0.5)), 20)
    first = write(tmp_path / "g.fits", source(grid(), SIZE_PIX), grid())
    second = write(tmp_path / "r.fits", small, grid(size_pix=20, shift_pix=(0.5, 0.5), SATURATE=float(small.max())))
    cutout = read(first, second)
    known = np.isfinite(cutout.image[1])
    assert np.argwhere(known).min() >= 9
    assert np.argwhere(known).max() <= 30
    assert not known[19, 19]
    assert np.isfinite(cutout.image[0]).all()
    assert cutout.mask is None


def test_each_band_tells_its_noise_under_its_name(tmp_path):
    rng = np.random.default_rng(1)
    data = (rng.normal(size=(3, SIZE_PIX, SIZE_PIX)) * np.array([1.0, 4.0, 2.0])[:, None, None]).astype(np.float32)
    error = fits.ImageHDU(np.full((SIZE_PIX, SIZE_PIX), 1.5, np.float32), name="ERR")
    first = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data[0], grid(), name="SCI"), error])
    first.writeto(tmp_path / "g.fits")
    paths = [
        tmp_path / "g.fits",
        write(tmp_path / "r.fits", data[1], grid()),
        write(tmp_path / "i.fits", data[2], grid(shift_pix=(0.5, 0.5))),
    ]
    meta = read(*paths, names=("g", "r", "i")).meta
    assert meta["rms_g"] == 1.5, "as its error extension says"
    assert meta["rms_r"] == pytest.approx(4.0, rel=0.05)
    assert meta["rms_i"] == pytest.approx(1.0, rel=0.1), "four neighbours are averaged by a shift of half a pixel"
    assert "rms" not in meta


def test_flags_of_bands_on_one_grid_are_united(tmp_path):
    data = source(grid(), SIZE_PIX)
    marked = [data.copy(), data.copy()]
    marked[0][3, 4], marked[1][5, 6] = 10.0, 10.0
    paths = [write(tmp_path / f"{i}.fits", plane, grid(SATURATE=9.0)) for i, plane in enumerate(marked)]
    assert np.argwhere(read(*paths).mask).tolist() == [[3, 4], [5, 6]]


def test_each_band_is_checked_and_named(tmp_path):
    good = write(tmp_path / "g.fits", source(grid(), SIZE_PIX), grid())
    jansky = write(tmp_path / "jy.fits", source(grid(), SIZE_PIX), grid(BUNIT="K"))
    cube = write(tmp_path / "cube.fits", np.ones((2, 9, 9), np.float32), grid(size_pix=9))
    bare = tmp_path / "bare.fits"
    fits.PrimaryHDU(np.ones((9, 9), np.float32)).writeto(bare)
    far = write(tmp_path / "far.fits", source(grid(), SIZE_PIX), grid(CRVAL1=20.0))
    for path, reason in [
        (jansky, "unexpected unit"),
        (cube, "wrong number of bands"),
        (tmp_path / "absent.fits", "missing file"),
        (bare, "bands on different grids"),
        (far, "position outside the image"),
    ]:
        rejected = read(good, path, position=Position(RA, DEC))
        assert (rejected.reason, rejected.file) == (reason, path.name)


def test_bands_that_inherit_their_wcs_lie_where_that_puts_them(tmp_path):
    paths = []
    for name, shift in (("a", 0.0), ("b", 5.0)):
        header = grid(shift_pix=(shift, 0.0))
        science = fits.ImageHDU(source(header, SIZE_PIX), fits.Header({"INHERIT": True}), name="SCI")
        fits.HDUList([fits.PrimaryHDU(header=header), science]).writeto(tmp_path / f"{name}.fits")
        paths.append(tmp_path / f"{name}.fits")
    image = read(*paths).image
    np.testing.assert_allclose(centroid(image[0]), centroid(image[1]), atol=0.01)


def test_a_header_that_is_not_ascii_is_no_wcs(tmp_path):
    header = grid()
    first = write(tmp_path / "a.fits", source(header, SIZE_PIX), header)
    raw = write(tmp_path / "b.fits", source(header, SIZE_PIX), grid(shift_pix=(1.0, 0.0), OBSERVER="Jose")).read_bytes()
    (tmp_path / "b.fits").write_bytes(raw.replace(b"'Jose", b"'Jos\xe9"))
    assert isinstance(read(first, tmp_path / "b.fits"), Cutout | Rejected)


def test_a_band_of_another_part_of_the_sky_is_empty(tmp_path):
    first = write(tmp_path / "g.fits", source(grid(), SIZE_PIX), grid())
    second = write(tmp_path / "r.fits", source(grid(), SIZE_PIX), grid(CRVAL2=40.0))
    assert np.isnan(read(first, second).image[1]).all()


def test_the_beam_is_told_where_all_bands_have_it(tmp_path):
    data = source(grid(), SIZE_PIX)
    same = [write(tmp_path / f"{i}.fits", data, grid(BMAJ=0.001, BMIN=0.001)) for i in (0, 1)]
    other = write(tmp_path / "2.fits", data, grid(BMAJ=0.002, BMIN=0.001))
    cutout = read(*same)
    assert isinstance(cutout, Cutout)
    assert cutout.meta["bmaj"] == pytest.approx(3.6)
    assert "bmaj" not in read(same[0], other).meta
