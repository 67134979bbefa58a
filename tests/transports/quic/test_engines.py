"""Which engine carries QUIC: the one that was asked for, or the best there is; statistics and reports say which."""

from __future__ import annotations

import pytest
import trio.testing

from peerstack import open_host
from peerstack.stack.identity import Identity
from peerstack.transports.quic import QuicTransport, engines
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.interface import EngineFactory, EngineSettings, SocketEngine

from .hosts import ANYWHERE, attempt
from .link import MemoryNetwork

pytestmark = pytest.mark.aioquic  # which is named in the tests
US = Identity.generate()


class Marked:
    """Makes engines on aioquic, and remembers for how many sockets."""

    name = "marked"

    def __init__(self) -> None:
        self.made: list[SocketEngine] = []

    def __call__(self, settings: EngineSettings) -> SocketEngine:
        self.made.append(AioquicEngine(settings))
        return self.made[-1]


def missing() -> EngineFactory:
    raise ImportError("it is not installed")


def test_an_engine_is_found_by_its_name() -> None:
    assert QuicTransport(US, engine="aioquic").engines == {"quic-v1": "aioquic"}
    assert engines.find_engine("aioquic") is AioquicEngine


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"there is no QUIC engine 'quiche'; there are .*aioquic"):
        QuicTransport(US, engine="quiche")


def test_without_a_word_the_best_that_can_be_imported_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"faster": missing, "aioquic": lambda: AioquicEngine})
    assert QuicTransport(US).engines == {"quic-v1": "aioquic"}
    monkeypatch.setattr(engines, "ENGINES", {"faster": Marked, "aioquic": lambda: AioquicEngine})
    assert QuicTransport(US).engines == {"quic-v1": "marked"}


def test_an_engine_that_is_not_installed_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"faster": missing, "aioquic": lambda: AioquicEngine})
    with pytest.raises(ImportError, match="it is not installed"):
        QuicTransport(US, engine="faster")
    monkeypatch.setattr(engines, "ENGINES", {"faster": missing})
    with pytest.raises(ImportError, match="it is not installed"):
        QuicTransport(US)


async def test_a_factory_makes_one_engine_for_each_socket_and_all_say_which(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, marked, them = MemoryNetwork(), Marked(), Identity.generate()
    ours = QuicTransport(US, network=network, engine=marked)
    theirs = QuicTransport(them, network=network, engine="aioquic")
    async with (
        open_host(listen=[ANYWHERE, ANYWHERE], identity=US, transports=[], native_transports=[ours]) as alice,
        open_host(identity=them, transports=[], native_transports=[theirs]) as bob,
    ):
        assert len(marked.made) == 2
        assert alice.statistics().swarm.engines == {"quic-v1": "marked"}
        assert bob.statistics().swarm.engines == {"quic-v1": "aioquic"}
        record = attempt()
        connection = await theirs.dial(alice.swarm.listen_addresses[0], alice.peer_id, record)
        assert record.to_json()["engine"] == "aioquic"
        await connection.aclose()


async def test_a_host_with_default_transports_names_the_engine_once_it_is_needed() -> None:
    async with open_host(listen=["/ip4/127.0.0.1/tcp/0"]) as host:
        assert host.statistics().swarm.engines == {}
        await host.listen("/ip4/127.0.0.1/udp/0/quic-v1")
        assert list(host.statistics().swarm.engines) == ["quic-v1"]
