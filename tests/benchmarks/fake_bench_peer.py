"""A peer of the contract that measures nothing and answers fixed numbers; its argument names an op that fails.

As `download` it leaves when asked for a download, as `lossy` it receives three messages fewer than it should, and as
`alone` it sees no other peer.
"""

import json
import sys

LOST = 3


def main() -> None:
    say(event="listening", implementation="fake", version="v1", peer_id="P", addresses=["/ip4/127.0.0.1/tcp/1/p2p/P"])
    published = 0
    for line in sys.stdin:
        command = json.loads(line)
        if sys.argv[1] == "download" and command.get("download"):
            sys.exit(1)
        if command["op"] == sys.argv[1] or command.get("start", published) != published:
            say(id=command["id"], ok=False, error="not today")
        else:
            published += command["count"] if command["op"] == "publish" else 0
            say(id=command["id"], ok=True, **answer(command))


def answer(command: dict[str, int]) -> dict[str, object]:
    match command:
        case {"op": "perf"}:
            return {"upload_seconds": 2, "download_seconds": 4}
        case {"op": "ping", "count": count}:
            return {"rtt_us": [50.0] * (count - 1) + [9000.0]}
        case {"op": "bench_dial", "count": count}:
            return {"seconds": count / 10}
        case {"op": "bench_streams", "count": count}:
            return {"seconds": count / 20}
        case {"op": "wait_received", "count": count}:
            return {"total": max(0, count - LOST) if sys.argv[1] == "lossy" else count}
        case {"op": "topic_peers"}:
            return {"peers": [] if sys.argv[1] == "alone" else list("ABCDEF")}
        case {"op": "mesh"}:
            return {"peers": None}
    return {}


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
