"""Ledger: payments that every peer checks, and that cannot be made twice. Needs the extra: `pip install '.[typed]'`.

The validation results must be fair to peers that only forward a payment:
- REJECT, which lowers the score of the sender, is for payments that every peer finds invalid at any time.
- Of two payments with the same number a peer keeps the first and returns IGNORE for the other: the peer that forwards
  it may not know the first, and REJECT would lower its score. The two signatures prove that the payer cheated. They are
  published, so that all ledgers cancel the same payments and all peers score the payer down, whichever they saw first.
- A payment without funds waits, since the income may arrive later: balances do not depend on the order of arrival.
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

import trio

from peerstack import Host, Identity, InvalidInput, PeerId, StackError, open_host
from peerstack.protocols import pubsub as ps

PAYMENTS, FRAUDS = "example/ledger/payments", "example/ledger/fraud"


@dataclass(frozen=True)
class Payment:
    """The `number`-th payment of its payer, from 0 on."""

    payer: str
    payee: str
    amount: int
    number: int
    signature: bytes = b""

    @classmethod
    def make(cls, payer: Identity, payee: PeerId, amount: int, number: int) -> "Payment":
        """Return a payment with its signature."""
        payment = cls(str(payer.peer_id), str(payee), amount, number)
        return replace(payment, signature=payer.sign(payment.to_sign()))

    def to_sign(self) -> bytes:
        """Return what the signature covers."""
        return f"{PAYMENTS} {self.payer} {self.payee} {self.amount} {self.number}".encode()


@dataclass(frozen=True)
class Fraud:
    """Two payments of one payer with one number."""

    one: Payment
    other: Payment


class Ledger:
    """What one peer knows, in memory; `grants` is what each account begins with. Get one from `open_ledger`."""

    def __init__(self, grants: dict[str, int]) -> None:
        self.pubsub: ps.Pubsub
        self.payments: ps.JoinedTopic[Payment]
        self.frauds: ps.JoinedTopic[Fraud]
        self.cancelled: dict[str, int] = {}  # of cheats: the first of their payments that does not count any more
        self._grants, self.caught = grants, trio.Event()
        self._kept: dict[tuple[str, int], Payment] = {}

    def balances(self) -> dict[str, int]:
        """Return what each account has, by the payments that count."""
        balances, turn = dict(self._grants), dict.fromkeys(self._grants, 0)
        payments = list(filter(self._counts, self._kept.values()))
        while ready := [it for it in payments if it.number == turn[it.payer] and it.amount <= balances[it.payer]]:
            for payment in ready:
                turn[payment.payer] += 1
                balances[payment.payer] -= payment.amount
                balances[payment.payee] += payment.amount
        return balances

    def check(self, message: ps.PubsubMessage[Payment]) -> ps.ValidationResult | Awaitable[ps.ValidationResult]:
        """Validate a payment, and keep the first with its number."""
        payment = message.value
        if payment.payer != str(message.author) or not self._is_genuine(payment):
            return ps.ValidationResult.REJECT
        if not self._counts(payment):
            return ps.ValidationResult.IGNORE
        first = self._kept.setdefault((payment.payer, payment.number), payment)
        return ps.ValidationResult.ACCEPT if first is payment else self._accuse(first, payment)

    async def _accuse(self, first: Payment, second: Payment) -> ps.ValidationResult:
        with suppress(InvalidInput):  # from our own validator, if others were faster or it is one payment after all
            await self.frauds.publish(Fraud(first, second))
        return ps.ValidationResult.IGNORE

    def expose(self, message: ps.PubsubMessage[Fraud]) -> ps.ValidationResult:
        """Validate a proof, and cancel the payments of the cheater from that number on."""
        one, other = message.value.one, message.value.other
        same = (one.payer, one.number) == (other.payer, other.number) and one.to_sign() != other.to_sign()
        if not (same and self._is_genuine(one) and self._is_genuine(other)):
            return ps.ValidationResult.REJECT
        if not self._counts(one):
            return ps.ValidationResult.IGNORE
        self.cancelled[one.payer] = one.number
        self.caught.set()
        return ps.ValidationResult.ACCEPT

    def _is_genuine(self, payment: Payment) -> bool:
        if payment.amount > 0 <= payment.number and {payment.payer, payment.payee} <= self._grants.keys():
            with suppress(StackError):
                if key := PeerId.parse(payment.payer).public_key:
                    key.verify(payment.to_sign(), payment.signature)
                    return True
        return False

    def _counts(self, payment: Payment) -> bool:
        return payment.number < self.cancelled.get(payment.payer, inf)


@asynccontextmanager
async def open_ledger(host: Host, grants: dict[str, int]) -> AsyncIterator[Ledger]:
    """Keep a ledger with other peers: read `ledger.payments`, and publish to it."""
    book = Ledger(grants)
    score = ps.ScoreConfig(application_score=lambda peer: -10.0 if str(peer) in book.cancelled else 0.0)
    async with (
        ps.open_pubsub(host, ps.PubsubConfig(score=score)) as book.pubsub,
        book.pubsub.join(FRAUDS, codec=ps.JsonCodec(Fraud), validators=[book.expose]) as book.frauds,
        book.pubsub.join(PAYMENTS, codec=ps.JsonCodec(Payment), validators=[book.check]) as book.payments,
    ):
        yield book


async def main() -> None:
    """Let one of four peers pay two others with the same money, and print the resulting balances."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(open_host(listen=["/ip4/127.0.0.1/tcp/0"])) for _ in range(4)]
        grants = {str(host.peer_id): 100 for host in hosts}
        honest = [await stack.enter_async_context(open_ledger(host, grants)) for host in hosts[1:]]
        pubsub = await stack.enter_async_context(ps.open_pubsub(hosts[0]))  # and no validators
        cheat = await stack.enter_async_context(pubsub.join(PAYMENTS, codec=ps.JsonCodec(Payment)))
        for host, other in combinations(hosts, 2):
            await host.connect(*other.addresses)
        for topic in [cheat, *(ledger.payments for ledger in honest)]:
            await topic.wait_peers(3)
        await honest[0].payments.publish(Payment.make(hosts[1].identity, hosts[2].peer_id, 30, number=0))
        for host in hosts[1:3]:
            await cheat.publish(Payment.make(hosts[0].identity, host.peer_id, 70, number=0))
        for ledger in honest:
            await ledger.caught.wait()
            print(*ledger.balances().values())


if __name__ == "__main__":
    trio.run(main)
