"""What counting a result's bytes costs, by gzip's level, and what a higher level would save: for docs/methods.md.

    python benchmarks/storage.py [NETWORK ...]

For each network as initialised, pruned by magnitude: processor time of one count (12 sizes), and the smallest file.
"""

import sys
import time

from retrainlab import storage
from retrainlab.config import Prune
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.pruning import prune
from retrainlab.training import masked
from retrainlab.training.state import State

LEVELS = (1, storage.LEVEL, 6, 9)


def main(networks: list[str]) -> None:
    for network in networks or ["resnet8"]:
        model = build(network, shape=(1, 8, 8) if network == "resnet8" else (3, 32, 32), classes=10)
        state, names = State.of(model), prunable(model)
        weights = {name: state.params[name] for name in names}
        for sparsity in (0.5, 0.9, 0.98):
            settings = Prune(sparsity)
            masks = prune(weights, {name: w.abs() for name, w in weights.items()}, settings, sparsity)
            pruned = masked.apply(state, masks)
            for level in LEVELS:
                storage.LEVEL = level
                start, times = time.perf_counter(), []
                while not times or time.perf_counter() - start < 1:
                    begin = time.process_time()
                    sizes = storage.sizes(pruned.params | pruned.buffers, names)
                    times.append(time.process_time() - begin)
                smallest = storage.ratios(sizes)["packed_bytes"]
                print(f"{network} {100 * sparsity:g} %, level {level}: {1e3 * min(times):8.1f} ms, {smallest:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
