"""A photo as its file had it: read, edited by patches, written so that nothing else changes.

`read` and `limits` open a file, `native` holds its samples, `colour` shows them as sRGB, `photo` lays patches over
them, `write` gives a file again. `containers`, `metadata`, `pictures`, `ifd`, `tiff` know what lies
beside the pixels, `jpeg*` what JPEG's blocks are; `lossy` and `heic` the formats that are coded anew.
"""

from unsay.photo.photo import Photo, from_samples

__all__ = ["Photo", "from_samples"]
