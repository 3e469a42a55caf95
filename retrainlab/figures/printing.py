"""HTML -> PDF, by whichever browser that prints is on the path."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from retrainlab.paths import write_whole

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")  # that print


class NoPrint(Exception):
    """Why there is no PDF."""


def to_pdf(text: str, out: Path) -> None:
    """Print the HTML `text`, which loads nothing, as the PDF `out`. Raises NoPrint."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise NoPrint("no browser that prints is on the path")
    folder = Path(tempfile.mkdtemp(prefix=".print-", dir=out.parent))  # a confined browser may read no other place
    page, printed = folder / "print.html", folder / "print.pdf"
    options = ["--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # for root Chromium has no sandbox
        options.append("--no-sandbox")
    files = [f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}", page.as_uri()]
    try:
        page.write_text(text, encoding="utf-8")
        subprocess.run([browser, *options, *files], check=True, capture_output=True, timeout=120)
        write_whole(out, printed.replace)
    except subprocess.CalledProcessError as error:
        raise NoPrint(f"{browser} ended with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired as error:
        raise NoPrint(f"{browser} had not printed after {error.timeout:g} s") from None
    except OSError as error:
        raise NoPrint(f"{error.filename or browser}: {error.strerror}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
