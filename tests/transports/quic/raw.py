"""A QUIC peer made of bare aioquic, which can be told to break any rule, and engines driven without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aioquic import tls
from aioquic.buffer import encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicPacketBuilder
from cryptography import x509

from peerstack.stack.identity import Identity
from peerstack.stack.limits import WindowBudget
from peerstack.stack.net.datagrams import Segments, SocketAddress, split
from peerstack.stack.security.tls.certificate import Credentials, make_certificate
from peerstack.transports.quic import QuicConfig
from peerstack.transports.quic.certificates import CertificateVerifier
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.engine_aioquic.connection import AioquicConnection
from peerstack.transports.quic.interface import Arrived, Connected, Ended, EngineSettings, Event
from peerstack.transports.quic.tokens import reset_key

CLIENT: SocketAddress = ("192.0.2.1", 1111)
SERVER: SocketAddress = ("192.0.2.2", 2222)


def settings(config: QuicConfig | None = None, identity: Identity | None = None) -> EngineSettings:
    identity = identity or Identity.generate()
    return EngineSettings(
        config or QuicConfig(), make_certificate(identity), reset_key(identity), WindowBudget(1 << 30)
    )


class RawClient(QuicConnection):
    """aioquic as it is, with libp2p's certificate unless told otherwise."""

    def __init__(
        self,
        *,
        credentials: Credentials | None = None,
        chain: list[x509.Certificate] | None = None,
        alpn: list[str] | None = None,
        version: int = QuicProtocolVersion.VERSION_1,
        show_certificate: bool = True,
        takes: int | None = None,
    ) -> None:
        """`takes` is the UDP payload declared, of which aioquic by itself says nothing."""
        self._takes = takes
        credentials = credentials or make_certificate(Identity.generate())
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=alpn or ["libp2p"], verify_mode=0, supported_versions=[version]
        )
        if show_certificate:
            configuration.certificate = credentials.certificate
            configuration.certificate_chain = chain or []
            configuration.private_key = credentials.key
        super().__init__(configuration=configuration)

    def _serialize_transport_parameters(self) -> bytes:
        declared = b"" if self._takes is None else encode_uint_var(self._takes)
        parameters: bytes = super()._serialize_transport_parameters()
        return parameters + (b"\x03" + encode_uint_var(len(declared)) + declared if declared else b"")

    def one_rtt(self, frames: bytes) -> bytes:
        """Return a packet with any frames, sealed by this connection's keys."""
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=True,
            max_datagram_size=1400,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            version=self._version or 0,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[tls.Epoch.ONE_RTT])
        builder.start_frame(frames[0], capacity=len(frames)).push_bytes(frames[1:])
        datagrams, _ = builder.flush()
        self._packet_number = builder.packet_number
        return datagrams[0]


def varints(*values: int) -> bytes:
    return b"".join(map(encode_uint_var, values))


def stream_frame(stream_id: int, offset: int, data: bytes, *, fin: bool = False) -> bytes:
    return varints(0x0E | fin, stream_id, offset, len(data)) + data


@dataclass
class Attack:
    """A raw client against one of our engines, without I/O, on a clock of its own."""

    client: RawClient = field(default_factory=RawClient)
    config: QuicConfig = field(default_factory=QuicConfig)
    now: float = 100.0
    events: list[Event] = field(default_factory=list)
    to_client: list[bytes] = field(default_factory=list)
    source: SocketAddress = CLIENT
    settings: EngineSettings | None = None

    def __post_init__(self) -> None:
        self.client.connect(SERVER, self.now)
        self.engine = AioquicEngine(self.settings or settings(self.config))
        self.engine.listen(True)
        self.verifier = CertificateVerifier(None)
        self.handle = -1
        self.deadline: float | None = None
        self.undelivered: list[bytes] = []

    def exchange(self, rounds: int = 20) -> Attack:
        """Let both sides talk until they have nothing more to say."""
        for _ in range(rounds):
            self.now += 0.01
            sent = [datagram for datagram, _ in self.client.datagrams_to_send(self.now)]
            for datagram in sent:
                self.receive(datagram)
            answers = self.answers()
            for datagram in answers:
                self.client.receive_datagram(datagram, SERVER, self.now)
            deadline = self.client.get_timer()
            if deadline is not None and deadline <= self.now:
                self.client.handle_timer(self.now)
            if not sent and not answers and rounds > 3:
                break
        return self

    def receive(self, datagram: bytes, source: SocketAddress | None = None) -> None:
        """Let the engine take one datagram, and accept the connection that it may begin."""
        self.engine.receive(datagram, len(datagram), source or self.source, self.now)

    def flush(self) -> list[bytes]:
        """Note the events that there are, and return the datagrams to the client."""
        answers: list[bytes] = []
        while True:
            events, transmits, self.deadline, _ = self.engine.flush(self.now, 64)
            for data, segment, address in transmits:
                assert address == self.source
                answers += [datagram for datagram, _ in split(Segments(data, segment, address))]
            for event in events:
                if isinstance(event, Arrived):
                    self.handle = self.engine.accept(event.arrival, self.verifier, self.now)
                elif isinstance(event, Ended):
                    self.engine.close(event.connection, 0, "", self.now)
            self.events += events
            if not self.engine.needs_flush:
                break
        self.to_client += answers
        self.undelivered += answers
        return answers

    def answers(self) -> list[bytes]:
        """Return the datagrams to the client that were not delivered yet."""
        self.flush()
        answers, self.undelivered = self.undelivered, []
        return answers

    def hit(self, datagram: bytes) -> list[bytes]:
        """Let the engine take one datagram, and return its answers."""
        self.receive(datagram)
        return self.flush()

    def frames(self, frames: bytes) -> None:
        """Let the engine take any frames in an established connection."""
        self.hit(self.client.one_rtt(frames))

    @property
    def connection(self) -> AioquicConnection:
        """What the engine keeps of the connection."""
        return self.engine._connections[self.handle]

    @property
    def connected(self) -> bool:
        return any(isinstance(event, Connected) for event in self.events)

    @property
    def failure(self) -> Any:
        """What ended the connection, or None."""
        return next((event.failure for event in self.events if isinstance(event, Ended)), None)

    @property
    def ended(self) -> bool:
        return any(isinstance(event, Ended) for event in self.events)
