"""A valid other value for every field of the nouns: for tests that no field is forgotten."""

from retrainlab.config import SGD
from retrainlab.methods.table import GMP

RECIPE = dict(
    data="./pictures",
    model="mlp",
    width=7,
    epochs=31,
    batch_size=33,
    schedule="linear",
    lr=0.2,
    warmup=0.1,
    milestones=(0.5,),
    gamma=0.2,
    sgd=SGD(momentum=0.8),
    augment=False,
    all_train=True,
    image_size=32,
    seed=1,
    method=GMP(0.5),
    precision="bfloat16",
    embeddings=True,
)
PRUNE = dict(  # beside Prune(0.5)
    sparsity=0.6, score="random", allocation="erk", structure="n:m", cycles=2, keep_first=True, keep_last=True, n=1, m=8
)
RETRAIN = dict(  # beside Retrain("linear", lr=0.1); without points, which need the custom schedule
    schedule="rex",
    budget=0.2,
    lr=0.2,
    warmup=0.2,
    ramp="cosine",
    optimizer="keep",
    allr_norm="all",
    allr_cycles="last",
    clamp=True,
    recalibrate=True,
    split=True,
    freeze=True,
    copies=2,
    sgd=SGD(momentum=0.7),
)
