"""`peerstack swarm-key`: make and show the keys of private networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Group, Parameter

from peerstack.stack.errors import KeyFileError

from .events import SwarmKeyShown
from .failure import CommandError
from .host_options import load_swarm_key, pre_shared_key
from .options import Json
from .output import Output
from .runner import run

app = App(
    name="swarm-key",
    group_parameters=Group("Options"),
    help_epilogue="""All members of a private network have the same key; other peers cannot connect.
The file format is that of kubo (swarm.key). Copy the file to every member.

Examples:
  peerstack swarm-key new --out swarm.key
  peerstack swarm-key show swarm.key
  peerstack listen --swarm-key swarm.key""",
)


_NEW_EPILOGUE = """The key goes to a new file that only you can read. It is never shown: members
compare its fingerprint.

Examples:
  peerstack swarm-key new --out swarm.key
  peerstack swarm-key new --out ~/.ipfs/swarm.key --json"""


@app.command(help_epilogue=_NEW_EPILOGUE, sort_key=0)
def new(
    *,
    out: Annotated[Path, Parameter(help="Save the key to this new file.", metavar="FILE")],
    json: Json = False,
) -> int:
    """Make the key of a new private network."""
    return run(partial(_new, out), json=json)


async def _new(out: Path, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    key = pre_shared_key().generate()
    try:
        key.save(out)
    except KeyFileError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise CommandError(
                f"{out} exists already, and keys are never overwritten; choose another file or move this one"
            ) from error
        raise
    output.emit(SwarmKeyShown(key.fingerprint, str(out)))
    return 0


_SHOW_EPILOGUE = """The fingerprint is the same for all members, here, in kubo and in rust-libp2p.

Examples:
  peerstack swarm-key show swarm.key"""


@app.command(help_epilogue=_SHOW_EPILOGUE, sort_key=1)
def show(
    file: Annotated[Path, Parameter(help="The file of the key.", metavar="FILE")], /, *, json: Json = False
) -> int:
    """Show the fingerprint of a key, which is safe to share."""
    return run(partial(_show, file), json=json)


async def _show(file: Path, output: Output) -> int:
    await trio.lowlevel.checkpoint()
    output.emit(SwarmKeyShown(load_swarm_key(file).fingerprint, str(file)))
    return 0
