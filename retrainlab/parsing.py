"""Reading what anyone may have written, or a disk may have damaged: files' bytes, and JSON. Nothing runs what it reads."""

import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

MOST = 2**26  # bytes of a JSON text; that of a run has some thousands


def open_file(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Raises OSError, and ValueError for what is no file: a pipe would be waited for, and a
    device may never end."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is no file, but a pipe or a device")
    return file


def read_file(path: Path, most: int = MOST) -> bytes:
    """The bytes of a file. Raises OSError, and ValueError for what is no file or has more than `most` bytes."""
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def parsed(text: bytes | str, finite: bool = True) -> Any:
    """What a JSON text says. finite: refuse NaN and infinities, too, which JSON does not know and Python writes. Raises
    ValueError, whose first line says what is wrong with it."""
    if len(text) > MOST:
        raise ValueError(f"it has more than {MOST:,} bytes")
    try:
        return json.loads(text, parse_constant=_no_number if finite else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> None:
    raise ValueError(f"it holds {text}, which is no number")
