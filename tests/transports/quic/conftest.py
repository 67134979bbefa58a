"""Every test of this folder runs over each engine that is installed, unless it looks inside the one on aioquic."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from peerstack.transports.quic import engines

NATIVE = "peerstack_engine"


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this engine the only one there is."""
    name: str = request.param
    monkeypatch.setattr(engines, "ENGINES", {name: engines.ENGINES[name]})
    return name


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" not in metafunc.fixturenames:
        return
    names = ["aioquic"]
    if metafunc.definition.path.parent.name == "native":
        names = ["native"]
    elif find_spec(NATIVE) is not None and metafunc.definition.get_closest_marker("aioquic") is None:
        names.append("native")
    metafunc.parametrize("engine", names, indirect=True)
