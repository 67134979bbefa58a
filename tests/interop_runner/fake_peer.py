"""A peer program without a network: it answers each command with a canned answer, or with a chosen fault."""

import argparse
import hashlib
import json
import sys
from typing import Any

OTHER_ID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
NOTHING = None


def canned(op: str, command: dict[str, Any], *, outsider: bool) -> dict[str, Any]:
    same = hashlib.sha256(b"x").hexdigest()
    if op == "connect" and command["address"].endswith(OTHER_ID):
        return {"ok": False, "error": "another identity"}
    if op == "connect" and outsider:
        return {"ok": False, "error": "DialError: security negotiation: does it have our network key?"}
    answers: dict[str, dict[str, Any]] = {
        "connect": {"peer_id": command.get("address", "").rpartition("/")[2]},
        "identify": {
            "agent": NOTHING,
            "protocols": NOTHING,
            "listen_addresses": NOTHING,
            "observed_address": NOTHING,
            "signed_record": NOTHING,
        },
        "ping": {"rtt_us": [1.5] * command.get("count", 0)},
        "echo": {"bytes": command.get("bytes"), "sha256_sent": same, "sha256_received": same},
        "streams": {"completed": command.get("count")},
        "digest": {"sha256_sent": same, "sha256_remote": same},
        "reset": {"outcome": "reset"},
        "disconnect": {},
        "refusals": {"reasons": ["nonsense (does it have our network key?)"]},
    }
    return {"ok": True, **answers[op]}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(faults: dict[str, Any], *, ignore_end: bool, outsider: bool) -> None:
    held: list[dict[str, Any]] = []
    while True:
        for line in sys.stdin:
            command = json.loads(line)
            op = command["op"]
            answer = {"id": command["id"], **canned(op, command, outsider=outsider), **faults.get(op, {})}
            if answer.pop("leave", False):
                sys.stderr.write("a last word\n")
                sys.exit(7)
            if junk := answer.pop("junk", ""):
                say(junk)
            if answer.pop("hold", False):  # until the next answer, which so comes first
                held.append(answer)
                continue
            if not answer.pop("silent", False):
                say(json.dumps(answer))
            while held:
                say(json.dumps(held.pop()))
        if not ignore_end:
            return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="fake")
    parser.add_argument("--faults", type=json.loads, default={})
    parser.add_argument("--unsupported", default="")
    parser.add_argument("--ignore-end", action="store_true")
    parser.add_argument("--key-type")
    for other in ("--listen", "--security", "--muxer", "--cert", "--cert-key", "--ca", "--psk"):
        parser.add_argument(other)
    options = parser.parse_args()
    asked = {options.key_type: "key-type", options.muxer: "muxer"}
    for unsupported in filter(asked.get, options.unsupported.split(",")):
        what = f"{asked[unsupported]} {unsupported}"
        say(json.dumps({"event": "unsupported", "what": what, "reason": "none here"}))
        sys.exit(3)
    peer_id = f"Qm{options.name}"
    place = options.listen if options.listen.startswith("/unix/") else "/ip4/127.0.0.1/tcp/4001"
    address = f"{place}/p2p/{peer_id}"
    hello = {"implementation": options.name, "version": "v1", "peer_id": peer_id, "addresses": [address]}
    say(json.dumps({"event": "listening", **hello}))
    outsider = bool(options.psk and options.psk.endswith("other.key"))
    serve(options.faults, ignore_end=options.ignore_end, outsider=outsider)


if __name__ == "__main__":
    main()
