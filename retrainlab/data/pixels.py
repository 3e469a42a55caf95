"""An image file as 8-bit RGB, as it is meant to be seen; what cannot be converted without loss is refused in a few words."""

# PIL's modes of which `convert` to RGB keeps range and meaning; grey of 16 bits is scaled, others are refused
PLAIN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()  # EXIF's 2 to 8
MOST_PIXELS = 178_956_970  # of an image, as it is and as it is resized; where PIL suspects an attack


def reason(error: Exception) -> str:
    """Why an image cannot be used, from what was raised on the way."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MOST_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "no image of a format that is known"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def ordinary(image) -> bool:
    """Whether `convert("RGB")` is all that a PIL image takes, as its header says."""
    plain = image.mode in PLAIN and not image.has_transparency_data
    return plain and _frames(image) == 1 and _orientation(image) == 1


def rgb(image):
    """A PIL image, just opened, as one of RGB: 16 bits scaled to 8, turned as EXIF says. Raises ValueError, with the reason,
    for what has no one right conversion: transparency, several frames, numbers of unknown range."""
    import numpy as np
    from PIL import Image

    orientation = _orientation(image)  # asked before the pixels are read, after which PIL forgets it
    if (frames := _frames(image)) > 1:
        raise ValueError(f"{frames} frames: keep one")
    if _sixteen_bits(image):
        if image.has_transparency_data:
            raise ValueError("transparent: lay it on a background")
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))  # to the nearest: 65535 = 257 * 255
    elif image.mode not in PLAIN:
        raise ValueError(f"mode {image.mode}, whose range is not told: save it with 8 bits a channel")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise ValueError("transparent: lay it on a background")
    image = image.convert("RGB")
    return image.transpose(Image.Transpose[TURNS[orientation - 2]]) if orientation in range(2, 9) else image


def _frames(image) -> int:
    """Pictures in the file; of a camera's MPO the first is the photograph, and others are previews of it."""
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _orientation(image) -> int:
    """EXIF's number for how the camera was held, as the header has it. PIL turns a TIFF by itself, and to look for what a
    PNG's header lacks it would read all of the file."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    return image.getexif().get(0x0112, 1)


def _sixteen_bits(image) -> bool:
    """Whether it is grey from 0, black, to 65535, white."""
    if image.format == "TIFF":
        bits, meaning = image.tag_v2.get(258), image.tag_v2.get(262)  # the other meaning: 0 is white
        return image.mode.startswith("I;16") and bits == (16,) and meaning == 1
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
