"""No module knows one that knows it, not even for its types alone; import-linter looks at what runs only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grimp

KNOWN = {
    # Errors that carry a peer id or a dial report are in the one list of errors, below what they carry.
    ("peerstack.stack.errors", "peerstack.stack.identity"),
    ("peerstack.stack.errors", "peerstack.stack.report"),
    # A key has a peer id, and a peer id may be a key.
    ("peerstack.stack.identity.peer_id", "peerstack.stack.identity.keys"),
}


def cycles(imports: Mapping[str, frozenset[str]]) -> Iterator[frozenset[str]]:
    """Yield the sets of modules that all reach one another."""
    reached = {module: reachable(module, imports) for module in imports}
    for module, others in reached.items():
        mutual = frozenset(other for other in others if module in reached[other])
        if mutual and module == min(mutual | {module}):
            yield mutual | {module}


def reachable(module: str, imports: Mapping[str, frozenset[str]]) -> set[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = imports[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def test_a_cycle_is_found() -> None:
    imports = {"a": "b", "b": "ca", "c": "d", "d": "", "e": "a"}
    assert list(cycles({name: frozenset(others) for name, others in imports.items()})) == [{"a", "b"}]


def test_no_two_modules_know_one_another() -> None:
    graph = grimp.build_graph("peerstack", cache_dir=None)
    imports = {
        module: frozenset(
            other for other in graph.find_modules_directly_imported_by(module) if (module, other) not in KNOWN
        )
        for module in graph.modules
    }
    assert [sorted(cycle) for cycle in cycles(imports)] == []
