"""A peer of the contract that measures nothing and answers fixed numbers; its argument names an op that fails."""

import json
import sys


def main() -> None:
    say(event="listening", implementation="fake", version="v1", peer_id="P", addresses=["/ip4/127.0.0.1/tcp/1/p2p/P"])
    for line in sys.stdin:
        command = json.loads(line)
        if command["op"] == sys.argv[1]:
            say(id=command["id"], ok=False, error="not today")
        else:
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
    return {}


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
