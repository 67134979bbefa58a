"""The gossipsub contract: scripts, refusals, identities, and nodes in memory that log what they receive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from interop.official import gossipsub
from interop.official.gossipsub import Node, identity_of, node_of
from interop.official.script import LARGEST, Publish, gossip_config, load
from interop.official.settings import Unsupported
from peerstack import open_host
from peerstack.stack.errors import InvalidInput
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

INIT = {"type": "initGossipSub", "gossipSubParams": {"HeartbeatInterval": 1e9}}
SUBSCRIBE = {"type": "subscribeToTopic", "topicID": "t"}


def on(node: int, **instruction: Any) -> dict[str, Any]:
    return {"type": "ifNodeIDEquals", "nodeID": node, "instruction": instruction}


def written(tmp_path: Path, *script: Any) -> Path:
    path = tmp_path / "params.json"
    path.write_text(json.dumps({"script": script}))
    return path


async def play(script: Path, nodes: int) -> dict[int, list[tuple[float, Mapping[str, object]]]]:
    """Run a script on nodes in memory; return what each says, and at what second of the clock."""
    network, begun = MemoryNetwork(), trio.current_time()
    said: dict[int, list[tuple[float, Mapping[str, object]]]] = {node: [] for node in range(nodes)}
    addresses: dict[int, str] = {}

    async def locate(node: int) -> str:
        return addresses[node]

    async def run(number: int, ready: trio.Event) -> None:
        opened = open_host(listen=["/memory/0"], identity=identity_of(number), transports=[MemoryTransport(network)])
        async with opened as host, AsyncExitStack() as stack:
            addresses[number] = str(host.addresses[0])
            if len(addresses) == nodes:
                ready.set()
            await ready.wait()

            def say(fields: Mapping[str, object]) -> None:
                said[number].append((trio.current_time() - begun, fields))

            node = Node(number, host, stack, started=begun, locate=locate, say=say)
            await node.run(load(script))

    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        for number in range(nodes):
            nursery.start_soon(run, number, ready)
    return said


def received(said: list[tuple[float, Mapping[str, object]]]) -> list[tuple[float, Mapping[str, object]]]:
    return [(when, fields) for when, fields in said if fields["msg"] == "Received Message"]


async def test_nodes_say_who_they_are_and_log_each_receipt(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    script = written(
        tmp_path,
        INIT,
        SUBSCRIBE,
        on(1, type="connect", connectTo=[0]),
        on(2, type="connect", connectTo=[0]),
        {"type": "waitUntil", "elapsedSeconds": 10},
        on(1, type="publish", messageID=2**63, messageSizeBytes=8, topicID="t"),
        {"type": "waitUntil", "elapsedSeconds": 20},
    )
    said = await play(script, 3)
    first, second = identity_of(0).peer_id, identity_of(1).peer_id
    assert said[0][0][1] == {"msg": "PeerID", "id": str(first), "node_id": 0}
    receipt = {"msg": "Received Message", "id": "9223372036854775808", "topic": "t"}
    assert [fields for _, fields in received(said[0])] == [{**receipt, "from": str(second)}]
    assert [fields for _, fields in received(said[2])] == [{**receipt, "from": str(first)}]
    assert received(said[1]) == []


async def test_duplicates_are_logged_too(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    script = written(
        tmp_path,
        INIT,
        SUBSCRIBE,
        on(0, type="connect", connectTo=[1, 2]),
        on(1, type="connect", connectTo=[2]),
        {"type": "waitUntil", "elapsedSeconds": 10},
        on(0, type="publish", messageID=5, messageSizeBytes=100, topicID="t"),
        {"type": "waitUntil", "elapsedSeconds": 20},
    )
    said = await play(script, 3)
    logged = [str(fields["from"]) for node in (1, 2) for _, fields in received(said[node])]
    assert logged.count(str(identity_of(0).peer_id)) == 2
    assert len(logged) > 2


async def test_validation_takes_as_long_as_the_script_says(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    script = written(
        tmp_path,
        INIT,
        SUBSCRIBE,
        on(1, type="setTopicValidationDelay", topicID="t", delaySeconds=7.5),
        on(1, type="connect", connectTo=[0]),
        on(2, type="connect", connectTo=[1]),
        {"type": "waitUntil", "elapsedSeconds": 10},
        on(0, type="publish", messageID=1, messageSizeBytes=8, topicID="t"),
        {"type": "waitUntil", "elapsedSeconds": 30},
    )
    said = await play(script, 3)
    [(at_middle, _)], [(at_end, _)] = received(said[1]), received(said[2])
    assert at_middle == pytest.approx(10, abs=0.5)
    assert at_end - at_middle == pytest.approx(7.5, abs=0.5)


async def test_a_script_without_init_fails(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    with pytest.RaisesGroup(InvalidInput):
        await play(written(tmp_path, SUBSCRIBE), 1)


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ({"type": "addPartialMessage", "topicID": "t", "groupID": 1, "parts": 1}, "addPartialMessage.*no partial"),
        ({"type": "publishPartial", "topicID": "t", "groupID": 1}, "publishPartial.*no partial"),
        ({"type": "subscribeToTopic", "topicID": "t", "partial": True}, "no partial"),
        (on(7, type="publishPartial", topicID="t", groupID=1), "no partial"),
        ({"type": "explode"}, "explode"),
        ({"type": ["connect"]}, "unknown"),
        ({"type": "initGossipSub", "gossipSubParams": {"Unknown": 1}}, "Unknown"),
    ],
)
def test_what_this_program_does_not_do_is_refused_before_anything_is_done(
    tmp_path: Path, instruction: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unsupported, match=reason):
        load(written(tmp_path, INIT, instruction))


@pytest.mark.parametrize(
    "instruction",
    [
        7,
        {"type": "connect", "connectTo": 1},
        {"type": "connect", "connectTo": ["1"]},
        {"type": "waitUntil", "elapsedSeconds": "1"},
        {"type": "waitUntil", "elapsedSeconds": -1},
        {"type": "initGossipSub"},
        {"type": "initGossipSub", "gossipSubParams": {"D": 1, "Dlo": 9}},
        {"type": "publish", "messageID": 1, "messageSizeBytes": 7, "topicID": "t"},
        {"type": "publish", "messageID": 1, "messageSizeBytes": LARGEST + 1, "topicID": "t"},
        {"type": "publish", "messageID": 2**64, "messageSizeBytes": 8, "topicID": "t"},
        {"type": "subscribeToTopic"},
        {"type": "ifNodeIDEquals", "nodeID": 1},
    ],
)
def test_malformed_instructions_are_refused(tmp_path: Path, instruction: Any) -> None:
    with pytest.raises(ValueError):
        load(written(tmp_path, instruction))


def test_nesting_is_bounded(tmp_path: Path) -> None:
    instruction: dict[str, Any] = {"type": "waitUntil", "elapsedSeconds": 1}
    for _ in range(20):
        instruction = on(0, **instruction)
    with pytest.raises(ValueError, match="within one another"):
        load(written(tmp_path, instruction))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"script": {}}'])
def test_files_that_are_no_script_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        load(path)


def test_published_data_begins_with_the_number(tmp_path: Path) -> None:
    [publish] = load(written(tmp_path, {"type": "publish", "messageID": 258, "messageSizeBytes": 10, "topicID": "t"}))
    assert publish == Publish(b"\0\0\0\0\0\0\1\2\0\0", "t")


def test_times_are_nanoseconds_and_null_is_our_default() -> None:
    config = gossip_config({"D": 8, "HeartbeatInterval": 7e8, "PruneBackoff": None, "GossipFactor": 0, "Connectors": 8})
    assert (config.degree, config.gossip_factor) == (8, 0)
    assert config.heartbeat_interval == pytest.approx(0.7)
    assert config.prune_backoff == 60


def test_identities_are_what_the_other_programs_derive() -> None:
    assert str(identity_of(0).peer_id) == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    assert identity_of(1).encode()[4:36] == b"\1" + bytes(31)
    assert identity_of(258).encode()[4:36] == b"\2\1" + bytes(30)


def test_the_node_is_told_by_the_hosts_name() -> None:
    assert node_of("node12") == 12
    with pytest.raises(Unsupported, match="somewhere"):
        node_of("somewhere")


def test_log_lines_are_json_with_a_time_of_rfc_3339(capsys: pytest.CaptureFixture[str]) -> None:
    gossipsub.say({"msg": "PeerID", "id": "12D3", "node_id": 3})
    [line] = capsys.readouterr().out.splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {"level": "INFO", "service": "gossipsub", "msg": "PeerID", "id": "12D3", "node_id": 3}
