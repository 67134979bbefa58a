"""The stack knows no protocol by its id, and no option of the command: both declare themselves where they live."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

import peerstack.stack

SOURCES = sorted(path for root in peerstack.stack.__path__ for path in Path(root).rglob("*.py"))
PROTOCOL = re.compile(r"/(ipfs|libp2p|meshsub|floodsub|perf|identify)/[\w/]*\d+\.\d+")
OPTION = re.compile(r"(?<![\w-])--[a-z]+[a-z-]*")


def code_strings(text: str) -> list[str]:
    return [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if is_text(token)]


def is_text(token: tokenize.TokenInfo) -> bool:
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return token.type in kinds and not token.string.startswith('"""')


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_protocol_id_and_no_option(path: Path) -> None:
    found = [text for text in code_strings(path.read_text()) if PROTOCOL.search(text) or OPTION.search(text)]
    assert found == []


def test_the_stack_has_sources_and_the_patterns_find_what_they_are_for() -> None:
    assert len(SOURCES) > 50
    assert PROTOCOL.search('"/ipfs/ping/1.0.0": 2')
    assert OPTION.search("both sides need the same key (--swarm-key FILE)")
