"""How long the sessions of teach/ take from an empty store on this machine: seconds of each part, and processor time in all.

    python benchmarks/sessions.py

Writes results/sessions-cpu-2-cores.json, from which `make words` writes what teach/host.md says. On a machine that does
other work as well, the seconds are too many; the processor time is not.
"""

import json
import re
import resource
import tempfile
from pathlib import Path

from retrainlab.figures import notebooks
from retrainlab.paths import project, write_whole
from retrainlab.teaching import times
from retrainlab.teaching.sessions import NAMES


def parts(notebook) -> dict[str, float]:
    """Seconds of the cells below each heading of the second level of an executed notebook."""
    found, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = next(iter(re.findall(r"^## (.+)$", cell.source, re.M)), heading)
        elif heading:
            found[heading] = found.get(heading, 0.0) + (cell.metadata.papermill.duration or 0.0)
    return {heading: round(seconds, 1) for heading, seconds in found.items()}


def processor() -> float:
    """Seconds of processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    record = {}
    with tempfile.TemporaryDirectory(prefix="retrainlab-") as folder:
        for name in NAMES:
            before = processor()
            given = {"store": f"{folder}/{name}", "device": "cpu", "jobs": 2}
            path = project() / "teach" / f"{name}.ipynb"
            done = notebooks.execute(path, given, Path(folder) / "failed" / path.name, timeout=3600)
            record[name] = {"parts": parts(done), "processor": round(processor() - before, 1)}
            print(name, record[name])
    text = json.dumps(record, indent=1) + "\n"
    write_whole(project() / times.FILE, lambda temporary: temporary.write_text(text))


if __name__ == "__main__":
    main()
