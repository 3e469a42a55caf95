"""The nouns: frozen, checked when made, hashed by content, and light to import."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from retrainlab import config, keys
from retrainlab.checks import BadInput
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.keys import NAMED, key, to_dict
from retrainlab.methods.table import CS, GMP, METHODS
from tests.helpers.other_values import PRUNE, RECIPE, RETRAIN

ROOT = Path(__file__).parents[1]


def sentence(make) -> str:
    """The one line that BadInput says."""
    with pytest.raises(BadInput) as caught:
        make()
    text = str(caught.value)
    assert "\n" not in text and text[0].isupper() and text.endswith(".")
    return text


def one_key(noun) -> str:
    return key("kind", [noun], "data/1")


@pytest.fixture
def nothing_kept(monkeypatch):
    """Keys made anew each time, for tests that change what a class means."""
    monkeypatch.setattr(keys, "_kept", keys._written)
    monkeypatch.setattr(keys, "_fields", keys._fields.__wrapped__)


# A valid other value for every field. A new field without an entry makes the tests below fail.
CHANGES = {
    SGD: (SGD(), dict(momentum=0.8, nesterov=True, weight_decay=1e-3, decay_norm=False)),
    Recipe: (Recipe(), RECIPE),
    Prune: (Prune(0.5), PRUNE),
    Retrain: (Retrain("linear", lr=0.1), RETRAIN | {"points": None}),
    Experiment: (Experiment(), dict(recipe=Recipe(seed=1), prune=Prune(0.5), retrain=Retrain("FT"), evaluations=6)),
}
SINGLE = [(noun, f.name) for noun in CHANGES for f in fields(noun)]


@pytest.mark.parametrize("noun", CHANGES)
def test_nouns_are_frozen(noun):
    with pytest.raises(FrozenInstanceError):
        setattr(noun(), fields(noun)[0].name, 1)


@pytest.mark.parametrize(("noun", "name"), SINGLE)
def test_every_single_field_is_part_of_the_key(noun, name):
    base, changes = CHANGES[noun]
    if name == "points":
        base, changes = Retrain("custom", points=((0, 0.1), (1, 0))), {"points": ((0, 0.1), (1, 0.01))}
    if name == "image_size":
        base = Recipe(data="./images")
    if name == "data":  # the data set's fingerprint stands for it, so that a folder may move
        assert one_key(replace(base, data="./a")) == one_key(replace(base, data="./b"))
        assert key("x", [base], "digits/1") != key("x", [base], "cifar10/1")
        return
    assert one_key(replace(base, **{name: changes[name]})) != one_key(base)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(method="GMP"), r"the settings of a method, such as GMP\(0\.9\)"),
        (lambda: GMP(allocation="best"), "There is no allocation 'best'"),
        (lambda: GMP(interval=0), "The GMP's interval is 0, but must be a whole number at least 1"),
    ],
)
def test_what_a_method_cannot_be_is_told_in_words_of_methods(make, words):
    with pytest.raises(BadInput, match=words):
        make()


def test_same_content_same_key():
    assert one_key(Experiment(Recipe(seed=3))) == one_key(Experiment(Recipe(seed=3)))
    assert one_key(Recipe(milestones=[0.5, 0.75])) == one_key(Recipe(milestones=(0.5, 0.75)))
    assert one_key(Retrain("custom", points=[[0, 1], [1, 0]])) == one_key(Retrain("custom", points=((0, 1), (1, 0))))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Retrain(budget=1), Retrain(budget=1.0)),
        (Prune(0), Prune(0.0)),
        (Recipe(lr=1), Recipe(lr=1.0)),
        (Recipe(sgd=SGD(weight_decay=0)), Recipe(sgd=SGD(weight_decay=0.0))),
        (Recipe(milestones=(1,)), Recipe(milestones=(1.0,))),
        (Retrain("custom", points=((0, 1), (1, 0))), Retrain("custom", points=((0.0, 1.0), (1.0, 0.0)))),
    ],
)
def test_equal_nouns_have_one_key_whether_numbers_are_written_1_or_1_0(a, b):
    assert a == b
    assert one_key(a) == one_key(b)


def test_key_is_canonical_over_the_order_of_fields(monkeypatch):
    usual = one_key(Recipe())
    monkeypatch.setattr(keys, "to_dict", lambda noun: dict(reversed(to_dict(noun).items())))
    assert one_key(Recipe()) == usual


def test_key_changes_with_the_data_the_kind_and_the_schema(monkeypatch):
    usual = key("dense", [Recipe()], "folder/1")
    assert key("dense", [Recipe()], "folder/2") != usual
    assert key("pruned", [Recipe()], "folder/1") != usual
    assert key("dense", [Recipe(), Prune()], "folder/1") != usual
    monkeypatch.setattr(keys, "SCHEMA", keys.SCHEMA + 1)
    assert key("dense", [Recipe()], "folder/1") != usual


def test_results_stored_by_earlier_versions_are_still_found():
    """The key of a result that was stored in November 2026 (resnet20 on CIFAR-10, FT for ten epochs)."""
    recipe = Recipe(
        data="cifar10", model="resnet20", epochs=182, batch_size=128, milestones=(91 / 182, 136 / 182), seed=2,
        sgd=SGD(weight_decay=2e-4), all_train=True,
    )  # fmt: skip
    experiment = Experiment(recipe, Prune(0.8926), Retrain("FT", budget=10 / 182))
    assert key("result", [experiment], "cifar10/1") == "7b595e306c96db68"


KEYS = {  # as they were in November 2026
    "pruned": ([Recipe(), Prune()], "c2f28297d9d2eae5"),
    "result": ([Experiment()], "389cbb3f9ee2dcbb"),
    "result of n:m": ([Experiment(prune=Prune(0.5, structure="n:m"))], "aa1abe437e2c1a16"),
    "dense with attention": ([Recipe(model="torchvision/vit_b_16")], "755c8955240f4f74"),
}
KEYS |= {
    f"dense by {name}": ([Recipe(method=METHODS[name].settings())], wanted)
    for name, wanted in {
        "GMP": "fe4558d2cd6a5385",
        "GSM": "792bff2f8125c897",
        "DPF": "89c7beb860dcd951",
        "DNW": "cb15d63ed9811f53",
        "CS": "b65fa9315c928462",
        "STR": "d12af90764a669bd",
        "DST": "bde165c852bbb09c",
        "LC": "91e65e068d67344c",
        "Static": "cf9dcffc3009b844",
        "RigL": "1db32701facb2652",
    }.items()
}


@pytest.mark.parametrize("what", KEYS)
def test_keys_stay_what_they_were(what):
    nouns, wanted = KEYS[what]
    assert key(what.split()[0], nouns, "digits/1") == wanted


def test_a_key_where_nothing_is_at_its_default_stays_what_it_was():
    later = {"embeddings": False}  # which earlier keys did not know
    recipe = Recipe(**RECIPE | dict(data="digits", image_size=None, sgd=SGD(0.8, True, 1e-3, False)) | later)
    experiment = Experiment(recipe, Prune(**PRUNE | dict(structure="unstructured", cycles=1)), Retrain(**RETRAIN), 6)
    assert key("result", [experiment], "digits/1") == "c66c0c51ad1d19c5"


def with_a_new_field(noun):
    """The same noun of a later version, which has one more field at its default."""
    new = dataclasses.make_dataclass(
        type(noun).__name__, [("novelty", int, dataclasses.field(default=3))], bases=(type(noun),), frozen=True
    )
    return new(**{f.name: getattr(noun, f.name) for f in fields(noun) if f.init})


@pytest.mark.parametrize("noun", [SGD(), Recipe(), Prune(0.5), Retrain("FT"), Experiment(), GMP(0.5)])
def test_a_new_field_at_its_default_changes_no_key(noun):
    """And it need not be listed anywhere; at any other value it does."""
    before, later = keys._own(noun), with_a_new_field(noun)
    assert keys._own(later) == before
    assert keys._own(replace(later, novelty=4)) == before | {"novelty": 4}


def test_a_new_field_within_a_noun_changes_no_key_of_what_holds_it():
    recipe = with_a_new_field(Recipe(sgd=with_a_new_field(SGD(0.8)), method=with_a_new_field(GMP(0.5))))
    later = Experiment(recipe, with_a_new_field(Prune(0.5)), with_a_new_field(Retrain("FT")))
    before = Experiment(Recipe(sgd=SGD(0.8), method=GMP(0.5)), Prune(0.5), Retrain("FT"))
    assert one_key(later) == one_key(before)


def test_a_field_that_came_later_is_in_the_key_only_where_it_says_something_new(monkeypatch, nothing_kept):
    before = [key("dense", [Recipe(gamma=g)], "digits/1") for g in (0.1, 0.2)]
    monkeypatch.setitem(NAMED, "Recipe", NAMED["Recipe"].replace("gamma ", ""))
    after = [key("dense", [Recipe(gamma=g)], "digits/1") for g in (0.1, 0.2)]
    assert after[0] not in before and after[1] == before[1]


def test_settings_whose_meaning_has_changed_have_another_key(monkeypatch, nothing_kept):
    experiment = Experiment(prune=Prune(0.5, structure="filters"))
    before, other = key("result", [experiment], "digits/1"), key("result", [Experiment()], "digits/1")
    revised = property(lambda self: int(self.structure == "filters"))
    monkeypatch.setattr(Prune, "revision", revised, raising=False)
    assert key("result", [experiment], "digits/1") != before
    assert key("result", [Experiment()], "digits/1") == other


def test_networks_whose_attention_was_neither_pruned_nor_counted_have_another_key():
    """Those with torch's attention, and swin, which reads its layers' weights without calling them."""
    from torchvision import models

    from retrainlab.models import skeleton

    families = {
        name.split("_")[0]: f"torchvision/{name}" for name in sorted(models.list_models(module=models), reverse=True)
    }
    for name in families.values():
        if "regnet" in name:  # plain convolutions; it takes long
            continue
        kinds = {type(m).__name__ for m in skeleton(name, shape=(3, 224, 224), classes=10).modules()}
        assert Recipe(model=name).revision == bool(kinds & {"MultiheadAttention", "ShiftedWindowAttention"}), name
    assert Recipe(model="torchvision/swin_v2_s").revision == 1
    assert Recipe().revision == 0 == Recipe(model="torchvision/resnet50").revision


def test_groups_along_input_channels_have_another_key_than_those_along_kernel_positions():
    assert Prune(0.5, structure="n:m").revision == 1 and Prune(0.5).revision == 0


def test_results_after_a_sparsifying_method_have_a_revision_and_no_others(monkeypatch):
    both = [Experiment(), Experiment(Recipe(method=GMP(0.5)))]
    today = [key("result", [e], "digits/1") for e in both]
    monkeypatch.setattr(Experiment, "revision", 0)
    assert [key("result", [e], "digits/1") == now for e, now in zip(both, today, strict=True)] == [True, False]


@pytest.mark.parametrize("name", METHODS)
def test_only_the_methods_that_changed_have_a_revision(name, monkeypatch, nothing_kept):
    recipe = Recipe(method=METHODS[name].settings())
    today = key("dense", [recipe], "digits/1")
    monkeypatch.setattr(METHODS[name].settings, "revision", 0, raising=False)
    assert (key("dense", [recipe], "digits/1") != today) == (name in ("CS", "RigL"))


def hashed(value):
    """What a key is made of, as one tree: brute force."""
    if not dataclasses.is_dataclass(value):
        return value
    return {name: hashed(part) for name, part in keys._own(value).items()}


def test_a_key_is_the_hash_of_one_json_text_however_it_is_put_together():
    recipe = Recipe(method=CS(), precision="bfloat16", width=16, sgd=SGD(0.8))
    sets = [[Experiment(recipe, Prune(0.5, structure="n:m"), Retrain("FT", sgd=SGD(0.5)), 7)], [recipe, Prune()]]
    for nouns in sets:
        for code in ({}, {"score": "b", "model": 'a"'}):
            settings = [hashed(noun) for noun in nouns]
            for one in settings:
                one.get("recipe", one).pop("data", None)
            content = {"schema": keys.SCHEMA, "kind": "k", "data": 'é"/1', "nouns": settings}
            content |= {"code": code} if code else {}
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            assert key("k", nouns, 'é"/1', code) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_zero_with_a_sign_is_zero():
    assert one_key(Retrain(warmup=-0.0)) == one_key(Retrain(warmup=0.0))
    assert str(Retrain(warmup=-0.0).warmup) == "0.0"


def test_key_is_16_hex_digits():
    assert len(one_key(Recipe())) == 16 and set(one_key(Recipe())) <= set("0123456789abcdef")


def test_importing_the_nouns_loads_no_torch_and_keys_agree_between_processes():
    """Pitfall: a package imported for nothing; and keys that follow Python's per-process string hash."""
    code = (
        "import sys, retrainlab; from retrainlab import Recipe, Prune, Retrain, Experiment, BadInput;"
        "from retrainlab.keys import key;"
        "assert not {'torch', 'numpy', 'pandas', 'torchvision'} & set(sys.modules), 'heavy import';"
        "print(key('kind', [Experiment()], 'data/1'))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == one_key(Experiment())


def test_to_dict_is_json_and_holds_every_field():
    out = to_dict(Experiment())
    assert list(out) == [f.name for f in fields(Experiment)]
    assert list(out["recipe"]["sgd"]) == [f.name for f in fields(SGD)]
    assert out["recipe"]["milestones"] == [0.5, 0.75]


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "wrong", "allowed"),
    [
        (lambda: Prune(1.2), "sparsity is 1.2", "at least 0 and at most 1"),
        (lambda: Prune(-0.1), "sparsity is -0.1", "at least 0"),
        (lambda: Prune("0.9"), "sparsity is '0.9'", "a number"),
        (lambda: Prune(True), "sparsity is True", "a number"),
        (lambda: Prune(float("nan")), "sparsity is nan", "a number"),
        (lambda: Prune(cycles=0), "cycles is 0", "whole number at least 1"),
        (lambda: Prune(cycles=2.0), "cycles is 2.0", "whole number"),
        (lambda: Retrain(budget=-1), "is -1", "at least 0"),
        (lambda: Retrain(budget=float("nan")), "is nan", "at least 0"),
        (lambda: Retrain(copies=0), "copies", "at least 1"),
        (lambda: Retrain(budget=float("inf")), "is inf", "a number"),
        (lambda: Retrain(warmup=1), "warm-up share is 1", "at most 0.9"),
        (lambda: Retrain("constant", lr=0), "initial learning rate is 0", "above 0"),
        (lambda: Retrain("constant", lr="fast"), "lr is 'fast'", "a number"),
        (lambda: Recipe(epochs=-3), "epochs is -3", "whole number at least 1"),
        (lambda: Recipe(epochs=0), "epochs is 0", "whole number at least 1"),
        (lambda: Recipe(epochs=1.5), "epochs is 1.5", "whole number"),
        (lambda: Recipe(epochs=True), "epochs is True", "whole number"),
        (lambda: Recipe(batch_size=1), "batch size is 1", "at least 2"),
        (lambda: Recipe(lr=0), "learning rate is 0", "above 0"),
        (lambda: Recipe(lr=float("inf")), "learning rate is inf", "a number"),
        (lambda: Recipe(lr=1e39), "learning rate is 1e+39", "at most 1e+30"),  # float32 has no such number
        (lambda: Retrain("constant", lr=1e39), "initial learning rate is 1e+39", "at most 1e+30"),
        (lambda: SGD(weight_decay=1e39), "weight decay is 1e+39", "at most 1e+30"),
        (lambda: Recipe(lr=None), "lr is None", "a number"),
        (lambda: Recipe(width=0), "width is 0", "at least 1"),
        (lambda: Recipe(warmup=0.95), "warm-up share is 0.95", "at most 0.9"),
        (lambda: Recipe(milestones=(0.5, 1.5)), "milestone is 1.5", "at most 1"),
        (lambda: Recipe(gamma=0), "gamma is 0", "above 0"),
        (lambda: Recipe("./images", image_size=2), "image size is 2", "at least 4"),
        (lambda: Recipe(seed=-1), "seed is -1", "at least 0"),
        (lambda: Recipe(seed=0.5), "seed is 0.5", "whole number"),
        (lambda: SGD(momentum=1), "momentum is 1", "at least 0"),
        (lambda: SGD(weight_decay=-1e-4), "weight decay is -0.0001", "at least 0"),
        (lambda: SGD(weight_decay=float("inf")), "weight decay is inf", "a number"),
        (lambda: Experiment(evaluations=0), "evaluations is 0", "at least 1"),
    ],
)
def test_a_bad_number_is_one_sentence_with_the_value_and_what_is_allowed(make, wrong, allowed):
    text = sentence(make)
    assert wrong in text and allowed in text


@pytest.mark.parametrize(
    ("make", "wrong", "near"),
    [
        (lambda: Recipe(model="resnet2O"), "resnet2O", {"resnet20"}),
        (lambda: Recipe(data="digit"), "digit", {"digits"}),
        (lambda: Recipe(data="CIFAR-10"), "CIFAR-10", {"cifar10"}),
        (lambda: Recipe(schedule="multi-step"), "multi-step", {"multistep"}),
        (lambda: Retrain("LR"), "LR", {"LLR", "CLR", "SLR", "LRW"}),
        (lambda: Retrain("allr"), "allr", {"ALLR"}),
        (lambda: Retrain(ramp="cosin"), "cosin", {"cosine"}),
        (lambda: Retrain(optimizer="kept"), "kept", {"keep"}),
        (lambda: Retrain(allr_norm="prunables"), "prunables", {"prunable"}),
        (lambda: Retrain(allr_cycles="each-very"), "each-very", {"every"}),
        (lambda: Prune(score="magnitudes"), "magnitudes", {"magnitude"}),
        (lambda: Prune(allocation="globl"), "globl", {"global"}),
        (lambda: Prune(structure="filter"), "filter", {"filters"}),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_right_one(make, wrong, near):
    text = sentence(make)
    assert f"'{wrong}'" in text
    assert any(f"did you mean '{name}'?" in text for name in near)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recipe(data=5),
        lambda: Recipe(data=None),
        lambda: Recipe(model=None),
        lambda: Recipe(schedule=None),
        lambda: Recipe(milestones="0.5"),
        lambda: Recipe(milestones=None),
        lambda: Retrain(schedule=3),
        lambda: Retrain("custom", points=0.5),
        lambda: Retrain("custom", points=(0.1, 0.2)),
    ],
    ids=[
        "data-int",
        "data-none",
        "model-none",
        "schedule-none",
        "milestones-text",
        "milestones-none",
        "retrain-int",
        "points-number",
        "points-flat",
    ],
)
def test_a_value_of_the_wrong_type_is_bad_input_rather_than_a_traceback(make):
    sentence(make)


@pytest.mark.parametrize(
    ("noun", "name"), [(noun, f.name) for noun in CHANGES for f in fields(noun) if isinstance(f.default, bool)]
)
def test_a_switch_takes_true_or_false_only(noun, name):
    assert name in sentence(lambda: noun(**{name: "no"})).replace(" ", "_")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Experiment(Recipe(), Retrain()),
        lambda: Experiment("digits"),
        lambda: Experiment(retrain="LLR"),
        lambda: Recipe(sgd=0.9),
    ],
    ids=["retrain-for-prune", "name-for-recipe", "name-for-retrain", "number-for-sgd"],
)
def test_a_noun_in_the_wrong_place_is_bad_input(make):
    sentence(make)


def test_rewinding_for_longer_than_the_dense_run_names_both_lengths():
    """Pitfall: learning-rate rewinding crashes when retraining is longer than training."""
    text = sentence(lambda: Experiment(Recipe(epochs=10), retrain=Retrain("LRW", budget=1.5)))
    assert "15 epochs" in text and "10 epochs" in text and "set clamp" in text
    Experiment(Recipe(epochs=10), retrain=Retrain("LRW", budget=1.5, clamp=True))
    Experiment(Recipe(epochs=10), retrain=Retrain("LRW", budget=1))
    Experiment(Recipe(epochs=10), retrain=Retrain("LLR", budget=1.5))


@pytest.mark.parametrize("name", [n for n in config.FREE_SCHEDULES if n != "custom"])
def test_a_free_schedule_needs_its_learning_rate(name):
    assert f"'{name}'" in (text := sentence(lambda: Retrain(name))) and "give lr" in text
    Retrain(name, lr=0.1)


@pytest.mark.parametrize("name", [*config.NAMED_SCHEDULES, "custom"])
def test_no_other_schedule_takes_a_learning_rate(name):
    points = ((0, 0.1), (1, 0)) if name == "custom" else ()
    assert "leave lr out" in sentence(lambda: Retrain(name, lr=0.1, points=points))


def test_custom_points_go_with_the_custom_schedule_and_no_other():
    assert "control points" in sentence(lambda: Retrain("custom"))
    assert "control points" in sentence(lambda: Retrain("LLR", points=((0, 0.1), (1, 0))))


@pytest.mark.parametrize(
    "points", [((0.5, 0.1), (0.2, 0.1)), ((0, -0.1), (1, 0)), ((0, 0.1), (1.5, 0)), ((0, "x"), (1, 0)), ((0, 0.1, 3),)]
)
def test_custom_points_are_checked_when_made_and_not_after_the_dense_run(points):
    sentence(lambda: Retrain("custom", points=points))


def test_n_of_m_has_one_sparsity_one_cycle_and_n_up_to_m():
    assert "sparsity of 0.5, not 0.9" in sentence(lambda: Prune(0.9, structure="n:m"))
    assert "at most 4" in sentence(lambda: Prune(0.5, structure="n:m", n=5))
    assert "one cycle" in sentence(lambda: Prune(0.5, structure="n:m", cycles=2))
    Prune(0.75, structure="n:m", n=1, m=4)


@pytest.mark.parametrize("structure", ["filters", "neurons"])
def test_filters_and_neurons_are_allocated_globally_or_uniformly(structure):
    said = sentence(lambda: Prune(0.5, structure=structure, allocation="erk"))
    assert said == f"Whole {structure} are allocated 'global' or 'uniform', not 'erk'."


def test_nesterov_needs_momentum():
    assert "momentum above 0" in sentence(lambda: SGD(momentum=0, nesterov=True))


def test_a_folder_and_a_torchvision_network_are_taken_by_name():
    assert Recipe(data="my/images", model="torchvision/resnet18").data == "my/images"


def test_an_iterator_of_milestones_is_read_once_and_kept():
    """Pitfall: iterators consumed twice leave nothing behind."""
    assert Recipe(milestones=iter([0.25, 0.5])).milestones == (0.25, 0.5)


@pytest.mark.parametrize(("sparsity", "cycles"), [(0.9, 1), (0.9, 3), (0.0, 4), (1.0, 2), (0.5, 10)])
def test_targets_are_total_sparsities_of_equal_shares_of_what_remains(sparsity, cycles):
    """Pitfall: repeated pruning takes a share of what remains when a share of all was meant."""
    targets = Prune(sparsity, cycles=cycles).targets
    assert len(targets) == cycles and targets[-1] == sparsity
    share, alive = 1 - (1 - sparsity) ** (1 / cycles), 1.0
    for target in targets:
        alive *= 1 - share
        assert target == pytest.approx(1 - alive, abs=1e-12)


def test_nouns_are_plain_dataclasses_without_hidden_state():
    assert all(dataclasses.is_dataclass(noun) and eval(repr(noun()), vars(config)) == noun() for noun in CHANGES)


def test_a_first_prune_never_brings_back_what_the_method_has_taken():
    from retrainlab.methods.table import GMP, STR

    for prune in (Prune(0.5), Prune(0.9, cycles=3)):
        assert "at least 0.9" in sentence(lambda p=prune: Experiment(Recipe(method=GMP(0.9)), p))
        Experiment(Recipe(method=STR()), prune)
    Experiment(Recipe(method=GMP(0.9)), Prune(0.9))
    Experiment(Recipe(method=GMP(0.5)), Prune(0.9, cycles=2))


def test_a_pattern_may_be_asked_for_by_a_rounded_sparsity():
    assert Prune(0.667, structure="n:m", n=1, m=3) == Prune(1 - 1 / 3, structure="n:m", n=1, m=3)
    assert "is a sparsity of 0.666667, not 0.6" in sentence(lambda: Prune(0.6, structure="n:m", n=1, m=3))
