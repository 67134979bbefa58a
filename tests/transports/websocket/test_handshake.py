"""The HTTP upgrade: what is agreed to, what is refused and by which words, and what must not be lost behind it."""

from __future__ import annotations

import pytest
import trio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.transports.websocket import WebSocketPipe
from peerstack.transports.websocket.handshake import MAX_HEAD, accept_websocket, connect_websocket

URI = WebSocketURI(False, "192.0.2.1", 8080, "/p2p", "")
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def received(raw: MemoryPipe) -> bytes:
    return await raw.receive_some()


async def refused(request: bytes, complaint: str) -> bytes:
    """Send a request, expect it to be refused, and return what was answered."""
    near, far = memory_pipe_pair()
    await near.send_all(request)
    with pytest.raises(RemoteProtocolError, match=f"WebSocket handshake: {complaint}"):
        await accept_websocket(far)
    await far.aclose()
    answer = b""
    async for piece in near:
        answer += piece
    return answer


async def answered(answer: bytes, complaint: str, error: type[Exception] = RemoteProtocolError) -> None:
    """Ask for a WebSocket, answer with these bytes, and expect that to be refused."""
    near, far = memory_pipe_pair()
    await far.send_all(answer)
    if not answer:
        await far.send_eof()
    with pytest.raises(error, match=f"WebSocket handshake: {complaint}"):
        await connect_websocket(near, URI)


# ---- the server


async def test_a_request_is_agreed_to_as_the_rfc_says() -> None:
    near, far = memory_pipe_pair()
    await near.send_all(REQUEST)
    assert isinstance(await accept_websocket(far), WebSocketPipe)
    answer = await received(near)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # the example of section 1.3


async def test_requests_through_a_proxy_are_agreed_to() -> None:
    """Another Host, a path, and headers that proxies add."""
    near, far = memory_pipe_pair()
    await near.send_all(
        b"GET /libp2p/node?x=1 HTTP/1.1\r\nHost: p2p.example.com\r\nX-Forwarded-For: 203.0.113.9\r\n"
        b"X-Forwarded-Proto: https\r\nOrigin: https://app.example.org\r\nUpgrade: WebSocket\r\n"
        b"Connection: keep-alive, upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await accept_websocket(far)
    answer = await received(near)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Extensions" not in answer


@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_requests_may_come_in_pieces_and_frames_behind_them(step: int) -> None:
    near, far = memory_pipe_pair()
    data = REQUEST + Frame(Opcode.BINARY, b"early").serialize(mask=True)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for start in range(0, len(data), step):
                await near.send_all(data[start : start + step])

        nursery.start_soon(send)
        pipe = await accept_websocket(far)
        got = b""
        while len(got) < 5:
            got += await pipe.receive_some()
        assert got == b"early"


@pytest.mark.parametrize(
    ("old", "new", "complaint", "status"),
    [
        (b"GET /", b"POST /", ".*", 400),
        (b"GET / HTTP/1.1", b"GET / HTTP/1.0", ".*HTTP/1.0", 400),
        (b"GET / HTTP/1.1", b"GET /", ".*invalid HTTP request line", 400),
        (b"Upgrade: websocket\r\n", b"", ".*Upgrade", 426),
        (b"Upgrade: websocket", b"Upgrade: h2c", ".*h2c", 426),
        (b"Connection: Upgrade", b"Connection: close", ".*Connection", 426),
        (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"", "missing Sec-WebSocket-Key", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=", ".*Sec-WebSocket-Key.*c2hvcnQ", 400),
        (b"Version: 13", b"Version: 8", ".*Sec-WebSocket-Version.*8", 400),
        (b"Sec-WebSocket-Version: 13\r\n", b"", "missing Sec-WebSocket-Version", 400),
        (b"Host: a", b"no colon", ".*invalid HTTP header line", 400),
        (b"Host: a", b"Host: a\x00b", ".*invalid HTTP header value", 400),
        (b"Host: a", b"Content-Length: 5", ".*", 400),
    ],
)
async def test_bad_requests_are_answered_and_named(old: bytes, new: bytes, complaint: str, status: int) -> None:
    assert old in REQUEST
    answer = await refused(REQUEST.replace(old, new), complaint)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer[9:12].isdigit()
    assert 400 <= int(answer[9:12]) <= 505
    if status == 426:
        assert answer[9:12] == b"426"


@pytest.mark.parametrize("ended", [False, True])
async def test_headers_are_bounded(ended: bool) -> None:
    padding = b"X: " + b"x" * 1000 + b"\r\n"
    request = REQUEST[:-2] + padding * 9 + (b"\r\n" if ended else b"")
    answer = await refused(request, f"a request with headers of more than {MAX_HEAD} bytes")
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_headers_of_just_the_bound_are_taken() -> None:
    near, far = memory_pipe_pair()
    room = MAX_HEAD - len(REQUEST) - len(b"X: \r\n")
    request = REQUEST[:-2] + b"X: " + b"x" * room + b"\r\n\r\n"
    assert len(request) == MAX_HEAD
    await near.send_all(request)
    await accept_websocket(far)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x13/multistream/1.0.0\n", r"a request in HTTP was expected, but \\x13/multistream/1.0.0\\n came"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "the peer speaks TLS here"),
        (b"\x00", "a request in HTTP was expected"),
        (b"get / http", "a request in HTTP was expected"),
    ],
)
async def test_what_is_no_http_is_refused_at_once(data: bytes, complaint: str) -> None:
    assert await refused(data, complaint) == b""


async def test_a_client_that_leaves_is_a_lost_connection() -> None:
    near, far = memory_pipe_pair()
    await near.send_all(REQUEST[:40])
    await near.aclose()
    with pytest.raises(ConnectionLost, match="WebSocket handshake: the peer closed the connection"):
        await accept_websocket(far)


async def test_what_peers_send_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await refused(REQUEST.replace(b"GET", b"PUT"), ".*")
    assert caplog.records == []


async def test_the_library_agrees_as_a_client() -> None:
    near, far = memory_pipe_pair()
    client = ClientProtocol(URI)
    client.send_request(client.connect())
    await near.send_all(b"".join(client.data_to_send()))
    pipe = await accept_websocket(far)
    client.receive_data(await received(near))
    client.events_received()
    await pipe.send_all(b"hello")
    client.receive_data(await received(near))
    assert [event.data for event in client.events_received()] == [b"hello"]  # type: ignore[union-attr] # frames
    client.send_binary(b"hi")
    await near.send_all(b"".join(client.data_to_send()))
    assert await pipe.receive_some() == b"hi"
    client.send_close(1000)
    await near.send_all(b"".join(client.data_to_send()))
    assert await pipe.receive_some() == b""
    client.receive_data(await received(near))
    assert (client.close_rcvd, client.close_rcvd_then_sent) == (client.close_sent, False) or client.close_rcvd


# ---- the client


async def test_the_library_agrees_as_a_server_and_frames_behind_its_answer_are_kept() -> None:
    near, far = memory_pipe_pair()
    server = ServerProtocol()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            server.receive_data(await received(far))
            (request,) = server.events_received()
            assert request.path == "/p2p"  # type: ignore[union-attr] # a request
            assert request.headers["Host"] == "192.0.2.1:8080"  # type: ignore[union-attr] # a request
            assert "Sec-WebSocket-Extensions" not in request.headers  # type: ignore[union-attr] # a request
            server.send_response(server.accept(request))  # type: ignore[arg-type] # a request
            server.send_binary(b"early")
            await far.send_all(b"".join(server.data_to_send()))

        nursery.start_soon(serve)
        pipe = await connect_websocket(near, URI)
    assert await pipe.receive_some() == b"early"
    await pipe.send_all(b"hello")
    server.receive_data(await received(far))
    assert [event.data for event in server.events_received()] == [b"hello"]  # type: ignore[union-attr] # frames


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        (WebSocketURI(False, "192.0.2.1", 80, "/", ""), b"192.0.2.1"),
        (WebSocketURI(True, "a.org", 443, "/", ""), b"a.org"),
        (WebSocketURI(True, "a.org", 80, "/", ""), b"a.org:80"),
        (WebSocketURI(False, "2001:db8::1", 81, "/", ""), b"[2001:db8::1]:81"),
    ],
)
async def test_the_host_is_named_for_proxies(uri: WebSocketURI, host: bytes) -> None:
    near, far = memory_pipe_pair()
    with trio.move_on_after(0):
        await connect_websocket(near, uri)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect_websocket, near, uri)
        assert b"\r\nHost: " + host + b"\r\n" in await received(far)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nsorry", "the server answered 404 Not Found, not 101"),
        (b"HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\n\r\n", "the server answered 301 Moved Permanently"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "the server answered 200 OK, not 101"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ".*Connection"),
        (b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", ".*Sec-WebSocket-Accept"),
        (
            b"HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
            ".*Sec-WebSocket-Accept.*bm8=",
        ),
        (b"HTTP/1.1 abc\r\n\r\n", "did not receive a valid HTTP response"),
        (b"\x13/multistream/1.0.0\n", "an answer in HTTP was expected"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the peer speaks TLS here; without it the address ends in /ws"),
        (b"HTTP/1.1 101 Yes\r\n" + b"X: y\r\n" * 2000, f"an answer with headers of more than {MAX_HEAD} bytes"),
    ],
)
async def test_bad_answers_are_named(answer: bytes, complaint: str) -> None:
    await answered(answer, complaint)


async def test_a_server_that_leaves_is_a_lost_connection() -> None:
    await answered(b"", "the peer closed the connection", ConnectionLost)


async def test_a_server_cannot_impose_compression() -> None:
    near, far = memory_pipe_pair()
    server = ServerProtocol()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            server.receive_data(await received(far))
            (request,) = server.events_received()
            response = server.accept(request)  # type: ignore[arg-type] # a request
            response.headers["Sec-WebSocket-Extensions"] = "permessage-deflate"
            await far.send_all(response.serialize())

        nursery.start_soon(serve)
        with pytest.raises(RemoteProtocolError, match="no extensions supported"):
            await connect_websocket(near, URI)
