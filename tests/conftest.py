"""Shapes are checked in the tests: jaxtyping's annotations on the modules that carry arrays, enforced by beartype."""

from jaxtyping import install_import_hook

hook = install_import_hook(["cnnkit.model", "cnnkit.augment", "cnnkit.evaluate"], "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

from cnnkit.data import Data, load  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """The user's cache stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    """Trained numbers depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sample() -> Data:
    """The packaged real images."""
    return load("sample")


@pytest.fixture(scope="session")
def tiny(sample: Data) -> Data:
    """A few real images: 200 / 100 / 100."""
    return sample.subset(train=200, validation=100, test=100)
