"""Measures of networks of people's own, of timm's, and at other input sizes; and at the end of a study."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ablations.arm import Arm
from ablations.job import Job
from ablations.measure_store import MeasureStore
from ablations.measuring import Question, TrainedNetwork, answer, measure_study
from ablations.protocols import PROTOCOLS, Split
from ablations.resources import machine_cores
from ablations.running import PreparedStudy, Settings, prepare_study, run_study
from ablations.trial import result_of
from analysis.looking import look
from analysis.measures import MEASURES, Images, all_measures, ready
from analysis.stimuli import read_stimuli
from cnnkit.recipe import Recipe
from cnnkit.search_paths import add_search_paths

NETWORKS = Path(__file__).parents[1] / "cnnkit" / "networks"
SMALL = PROTOCOLS["smoke"].vary(
    spec=PROTOCOLS["smoke"].spec.vary(image_size=48, widths=(4, 8), hidden_width=0),
    recipe=Recipe(epochs=1),
    split=Split(train=60, validation=20, test=20),
)


def other_networks(baseline: Arm) -> list[Arm]:
    """What do other people's networks rely on?"""
    strided = baseline.replaced("strided", {"network": "strided"}, "odd_networks:ViewsAStridedMap")
    return [
        baseline,
        strided.variant("strided at 32", {"network": "strided"}, image_size=32),
        baseline.replaced("timm", {"network": "timm"}, "timm:test_resnet"),
        baseline.replaced("no maps", {"network": "no maps"}, "flat_network:Flat"),
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, sample) -> PreparedStudy:
    """A study of which all cells are trained."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "flat_network.py").write_text(
        "from torch import nn\n\ndef Flat():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n"
    )
    add_search_paths([str(NETWORKS), str(folder)])
    prepared = prepare_study(other_networks, SMALL, data=sample, results=folder / "results", settings=Settings(seeds=1))
    plan = prepared.plan()
    prepared.store.write_study(plan.study)
    for planned in plan.cells:
        prepared.store.write(result_of(Job(cell=planned.cell, arm=planned.arm.name, protocol="smoke"), plan.data))
    return prepared


@pytest.fixture(scope="module")
def study(prepared):
    return prepared.store.study(prepared.plan().study.name)


def cell_of(study, arm):
    return next(cell for cell in study.cells if cell.arm == arm)


def test_each_network_is_measured_in_its_own_size_and_format_and_what_has_no_map_says_so(prepared, study, sample):
    images = Images(sample.test.images[:200], sample.test.labels[:200], sample.description.classes, sample.fingerprint)
    measures = ready(list(MEASURES), read_stimuli(), images)
    result = measure_study(prepared.store, study, measures)
    assert result.measured == 3
    assert result.lacking == [
        f"no maps, seed 0, {name}: the network has no map (b, c, h, w) with more than one position, so there is no place to "
        "point at"
        for name in ("attention", "composites")
    ]
    kept = MeasureStore(prepared.store)
    for arm in ("baseline", "strided at 32", "timm", "no maps"):
        record = prepared.store.read(cell_of(study, arm).key)
        assert record.provenance.memory_format == ("contiguous" if arm == "strided at 32" else "channels_last")
        for measure in measures:
            found = kept.read(record, measure.name)
            assert (found is None) == (arm == "no maps" and measure.name.split("-")[0] in ("attention", "composites"))


@pytest.mark.parametrize("arm", ["baseline", "strided at 32", "timm"])
def test_networks_get_their_inputs_in_the_order_that_they_were_trained_in(prepared, study, sample, arm):
    cell = cell_of(study, arm)
    record = prepared.store.read(cell.key)
    network = TrainedNetwork.load(prepared.store, study, cell, record, torch.device("cpu"), [])
    seen = []
    network.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    look(network, sample.test.images[:3])
    size = 32 if arm == "strided at 32" else 48
    order = torch.contiguous_format if arm == "strided at 32" else torch.channels_last
    whole = [inputs for inputs in seen if len(inputs) > 1]
    assert whole
    assert all(inputs.shape[1:] == (3, size, size) and inputs.is_contiguous(memory_format=order) for inputs in whole)


def test_a_study_ends_with_its_measures(prepared, study, monkeypatch, capsys):
    monkeypatch.setattr("analysis.measures.MEASURES", {"shape_bias": MEASURES["shape_bias"]})
    arguments = {"data": prepared.data, "results": prepared.store.root, "settings": Settings(seeds=1)}
    outcome = run_study(other_networks, SMALL, **arguments, measures=all_measures)
    assert outcome.complete
    record = prepared.store.read(cell_of(study, "timm").key)
    measure = all_measures(prepared.data)[0][0]
    assert MeasureStore(prepared.store).read(record, measure.name)["small"].shape == (245, 10)
    capsys.readouterr()
    without = {**arguments, "settings": Settings(seeds=1, keep_weights=False)}
    run_study(other_networks, SMALL, **without, measures=all_measures)
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is measured: weights are not kept"


def test_data_with_other_classes_are_measured_as_far_as_that_goes_and_the_rest_is_one_sentence(sample, monkeypatch):
    digits = sample.description.model_copy(update={"classes": tuple("0123456789")})
    monkeypatch.setattr(type(sample), "description", property(lambda data: digits))
    measures, left_out = all_measures(sample)
    assert [measure.name.split("-")[0] for measure in measures] == ["reliance"]
    assert len(left_out) == 1
    assert left_out[0].startswith("shape_bias, attention, composites not measured: this needs classes that the")


def test_what_measures_look_at_travels_with_them_so_that_no_worker_makes_it_again(sample):
    import pickle

    test = sample.test.subset(100, "images")
    images = Images(test.images, test.labels, sample.description.classes, sample.fingerprint, training=sample.train)
    for measure in ready(list(MEASURES), read_stimuli(), images):
        sent = pickle.dumps(measure)
        arrived = pickle.loads(sent)
        assert {"_small", "_changed", "_scenes"} & arrived.__dict__.keys()
        assert arrived.name == measure.name, "its answers are kept under the name that was asked for"
        assert len(sent) < 1.2 * read_stimuli().images.nbytes, "training images stay here"


def test_a_network_whose_code_is_gone_or_has_changed_is_one_sentence(prepared, study):
    class Sizes:
        name = "sizes-1"

        def __call__(self, network):
            return {"size": np.array([network.image_size])}

    record = prepared.store.read(cell_of(study, "strided at 32").key)
    arm = next(entry for entry in study.arms if entry.name == "strided at 32")
    weights = prepared.store.weights(record)

    def asked(**changes):
        changed = arm.model_copy(update={"spec": {**arm.spec, **changes}})
        question = Question("strided, seed 0", changed, record.provenance, weights, ("sizes-1",))
        return answer(question, [Sizes()], torch.device("cpu"))

    as_it_was, gone, other = asked(), asked(factory="gone_from_here:Network"), asked(source="0" * 20)
    assert (as_it_was.lacking, as_it_was.remarks) == ((), ())
    assert not gone.found
    assert len(gone.lacking) == 1
    assert "gone_from_here" in gone.lacking[0]
    assert other.found
    assert len(other.remarks) == 1
    assert "is not the code that arm 'strided at 32' was trained with" in other.remarks[0]


def test_a_network_is_asked_on_as_many_threads_as_it_was_evaluated_with(prepared, study):
    class Threads:
        name = "threads-1"

        def __call__(self, network):
            return {"threads": np.array([torch.get_num_threads()])}

    before = torch.get_num_threads()
    assert measure_study(prepared.store, study, [Threads()]).lacking == []
    record = prepared.store.read(cell_of(study, "baseline").key)
    found = MeasureStore(prepared.store).read(record, "threads-1")
    assert found["threads"][0] == min(record.provenance.threads, machine_cores())
    assert torch.get_num_threads() == before
