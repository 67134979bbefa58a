"""The environment of both transport contracts and of perf, and what is refused in it."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from interop.official.__main__ import main
from interop.official.perf import Load
from interop.official.settings import Settings, Unsupported
from interop.official.transport import announced

CURRENT = {
    "IS_DIALER": "true",
    "REDIS_ADDR": "transport-redis:6379",
    "TEST_KEY": "0a1b2c3d",
    "TRANSPORT": "tcp",
    "SECURE_CHANNEL": "noise",
    "MUXER": "yamux",
    "LISTENER_IP": "0.0.0.0",
    "DEBUG": "false",
}
OLDER = {"transport": "ws", "muxer": "yamux", "security": "tls", "is_dialer": "false", "ip": "10.0.0.1"}


def test_the_current_contract_is_upper_case_with_a_key_of_its_own() -> None:
    settings = Settings.of(CURRENT)
    assert settings == Settings(
        dialer=True,
        redis="transport-redis:6379",
        key="0a1b2c3d_listener_multiaddr",
        transport="tcp",
        security="noise",
        muxer="yamux",
    )
    assert settings.address == "/ip4/0.0.0.0/tcp/0"
    assert settings.patience == 180


def test_the_older_contract_is_lower_case_with_one_key_for_all() -> None:
    settings = Settings.of(OLDER | {"redis_addr": "elsewhere:1", "test_timeout_seconds": "20"})
    assert (settings.legacy, settings.dialer, settings.key) == (True, False, "listenerAddr")
    assert (settings.redis, settings.patience) == ("elsewhere:1", 20)
    assert settings.address == "/ip4/10.0.0.1/tcp/0/ws"
    assert Settings.of(OLDER).redis == "redis:6379"


def test_quic_needs_neither_security_nor_muxer() -> None:
    bare = {name: value for name, value in CURRENT.items() if name not in ("SECURE_CHANNEL", "MUXER")}
    assert Settings.of(bare | {"TRANSPORT": "quic-v1"}).address == "/ip4/0.0.0.0/udp/0/quic-v1"
    with pytest.raises(Unsupported, match="secure channel None"):
        Settings.of(bare)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TRANSPORT": "webrtc-direct"}, "webrtc-direct"),
        ({"SECURE_CHANNEL": "plaintext"}, "plaintext"),
        ({"MUXER": "spdy"}, "spdy"),
        ({"IS_DIALER": "yes"}, "neither true nor false"),
        ({"REDIS_ADDR": ""}, "no REDIS_ADDR"),
        ({"TEST_KEY": ""}, "no TEST_KEY"),
        ({"TEST_TIMEOUT_SECS": "soon"}, "no number of seconds"),
        ({"TEST_TIMEOUT_SECS": "nan"}, "no number of seconds"),
    ],
)
def test_what_is_unknown_or_missing_is_refused_by_name(changes: dict[str, str], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        Settings.of(CURRENT | changes)


def test_the_load_takes_null_for_nothing_said() -> None:
    environment = {"UPLOAD_BYTES": "5", "UPLOAD_ITERATIONS": "null", "LATENCY_ITERATIONS": "", "DURATION": "7"}
    assert Load.of(environment) == Load(upload_bytes=5, duration=7)
    assert Load() == Load(
        upload_bytes=1073741824,
        download_bytes=1073741824,
        upload_iterations=10,
        download_iterations=10,
        latency_iterations=100,
        duration=20,
    )


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "9" * 19])
def test_a_load_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match="UPLOAD_BYTES"):
        Load.of({"UPLOAD_BYTES": text})


def test_no_iterations_are_refused() -> None:
    with pytest.raises(Unsupported, match="LATENCY_ITERATIONS"):
        Load.of({"LATENCY_ITERATIONS": "0"})


def test_the_dialer_is_told_an_address_that_is_not_loopback_if_there_is_one() -> None:
    loopback, other = Multiaddr("/ip4/127.0.0.1/tcp/1"), Multiaddr("/ip4/10.1.2.3/tcp/1")
    assert announced([loopback, other]) == other
    assert announced([loopback]) == loopback


def test_what_is_unsupported_ends_the_program_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (CURRENT | {"TRANSPORT": "webtransport"}).items():
        monkeypatch.setenv(name, value)
    assert main(["transport"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("unsupported: transport 'webtransport'")
