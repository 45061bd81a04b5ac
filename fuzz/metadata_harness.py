"""Blocks around the pixels, each through its cleaner: no exception, nothing longer, also the second time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fuzz import seeds


def load() -> Callable[[bytes], object]:
    """The test; the first byte picks the cleaner."""
    from unsay.photo.containers import kept_jpeg_segments, kept_png_chunks, webp_chunks, without_texts
    from unsay.photo.metadata import clean_exif, clean_iptc, clean_photoshop, clean_xmp, upright_exif
    from unsay.photo.pictures import blanked
    from unsay.photo.tiff import kept_tiff_tags, tiff_metadata_tags, tiff_pages, with_plain_alpha, write_tiff

    tiff = seeds.photos("tiff")[1]

    def exif(data: bytes) -> None:
        cleaned = clean_exif(data, orientation=6)
        assert cleaned is not None
        upright_exif(cleaned)
        write_tiff(tiff, tiff_metadata_tags(seeds.Metadata(exif=cleaned.removeprefix(seeds.EXIF_PREFIX))))

    def tags(data: bytes) -> None:
        try:
            tiff_pages(data)
        except ValueError:
            return
        write_tiff(tiff, kept_tiff_tags(with_plain_alpha(data)))

    def shrinks(clean: Callable[[bytes], bytes | None]) -> Callable[[bytes], None]:
        def test(data: bytes) -> None:
            cleaned = clean(data) or b""
            assert len(cleaned) <= len(data) + 2
            assert len(clean(cleaned) or b"") <= len(cleaned) + 2

        return test

    cleaners: tuple[Callable[[bytes], object], ...] = (
        exif,
        tags,
        shrinks(clean_xmp),
        shrinks(clean_iptc),
        shrinks(blanked),
        clean_photoshop,
        lambda data: kept_jpeg_segments(data, 6),
        lambda data: kept_png_chunks(data, 6),
        lambda data: list(webp_chunks(data)),
        without_texts,
    )
    return lambda data: cleaners[data[0] % len(cleaners)](data[1:]) if data else None


def start() -> Iterable[bytes]:
    """Every kind of block, as each cleaner takes it."""
    whole = (
        seeds.EXIF_PREFIX + seeds.exif(),
        seeds.photos("tiff")[0],
        seeds.XMP,
        seeds.PHOTOSHOP[12:],
        seeds.exif(">"),
    )
    more = (seeds.exif(">"), seeds.PHOTOSHOP, seeds.photos("jpeg")[0], seeds.photos("png")[0], seeds.photos("webp")[0])
    return [bytes([i]) + data for i, data in enumerate((*whole, *more, seeds.photos("png")[0]))]
