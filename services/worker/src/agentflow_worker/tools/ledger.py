"""`ledger.*`: accounts in a file of bookings, for workflows that move something and may have to
give it back.

A ledger is the file `ledgers/<name>.jsonl` under AGENTFLOW_BUCKET_ROOT, with one booking a line.
Bookings are written and synced under a lock, so workers of one machine share a ledger. A step books
once, however often it is tried, because its booking has the step's idempotency key. A reversal
books the opposite, once. Amounts are integers (cents, seats, ...).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from agentflow_common.errors import InvalidError, NotFoundError, RetryableError, TerminalError
from agentflow_worker.context import StepContext
from agentflow_worker.registry import tool
from agentflow_worker.tools.confine import resolve

OUTSIDE: Final = "outside"  # the account that deposits come from, and the only one that may owe
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
AMOUNT_MAX: Final = 10**15
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class Booking(msgspec.Struct, frozen=True, omit_defaults=True):
    """An amount that went from one account to another."""

    id: str
    source: str
    target: str
    amount: int
    memo: str = ""
    reverses: str = ""  # the booking that this one takes back


@tool("ledger.deposit", idempotent=True)
def ledger_deposit(account: str, amount: Amount, context: StepContext, ledger: str = "main") -> dict[str, Any]:
    """Brings an amount into an account from outside. Returns as ledger.transfer."""
    return _book(context, ledger, OUTSIDE, account, amount, "deposit")


@tool("ledger.transfer", idempotent=True)
def ledger_transfer(
    source: str, target: str, amount: Amount, context: StepContext, ledger: str = "main", memo: str = ""
) -> dict[str, Any]:
    """Moves an amount between accounts; TerminalError `insufficient_funds` if the source has less.

    Returns {"entry": the booking's id, "source", "target", "amount", "balance": of the source after
    it}.
    """
    return _book(context, ledger, source, target, amount, memo)


@tool("ledger.reverse", idempotent=True)
def ledger_reverse(entry: str, context: StepContext, ledger: str = "main") -> dict[str, Any]:
    """Books the opposite of a booking, once; a second reversal changes nothing.

    Returns as ledger.transfer.
    """
    with _opened(context, ledger) as book:
        first = book.bookings.get(entry)
        if first is None:
            raise NotFoundError(f"the ledger {ledger!r} has no booking {entry!r}", kind="booking_not_found")
        if first.reverses:
            raise InvalidError(f"{entry!r} is a reversal itself: book a transfer instead", kind="not_reversible")
        reversal = book.reversals.get(entry) or book.write(
            Booking(_id(f"reverse/{entry}"), first.target, first.source, first.amount, "reversal", entry)
        )
        return book.output(reversal)


@tool("ledger.balance", idempotent=True)
def ledger_balance(account: str, context: StepContext, ledger: str = "main") -> dict[str, Any]:
    """Reads the balance of an account.

    Returns {"account", "balance", "bookings": how many concern it}.
    """
    with _opened(context, ledger) as book:
        concerned = sum(account in {booking.source, booking.target} for booking in book.bookings.values())
        return {"account": account, "balance": book.balance(account), "bookings": concerned}


def _book(context: StepContext, ledger: str, source: str, target: str, amount: int, memo: str) -> dict[str, Any]:
    for name in (source, target):
        if not _NAME.match(name):
            raise InvalidError(
                f"the account {name[:80]!r} is not valid: use letters, digits, '_' or '-'", kind="account_invalid"
            )
    if source == target:
        raise InvalidError(f"the account {source!r} can't pay itself", kind="account_invalid")
    with _opened(context, ledger) as book:
        booking = Booking(_id(context.idempotency_key), source, target, amount, memo[:200])
        earlier = book.bookings.get(booking.id)
        if earlier is not None:
            return book.output(earlier)
        if source != OUTSIDE and book.balance(source) < amount:
            raise TerminalError(
                f"{source!r} has {book.balance(source):,}, and {amount:,} are needed: deposit more or ask for less",
                kind="insufficient_funds",
            )
        return book.output(book.write(booking))


def _id(key: str) -> str:
    return "bk_" + hashlib.sha256(key.encode()).hexdigest()[:20]


class _Book:
    """A ledger that this process has locked."""

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        data = os.pread(file.fileno(), FILE_BYTES_MAX + 1, 0)
        if len(data) > FILE_BYTES_MAX:
            raise TerminalError(f"the ledger {name!r} is full: begin another", kind="ledger_full")
        whole = data[: data.rfind(b"\n") + 1]
        os.ftruncate(file.fileno(), len(whole))  # a line that a crash cut off was never reported
        try:
            bookings = [msgspec.json.decode(line, type=Booking) for line in whole.splitlines()]
        except msgspec.MsgspecError as error:
            raise TerminalError(f"the ledger {name!r} is damaged: {error}", kind="ledger_damaged") from error
        self.bookings = {booking.id: booking for booking in bookings}
        self.reversals = {booking.reverses: booking for booking in bookings if booking.reverses}

    def balance(self, account: str) -> int:
        return sum(
            booking.amount * ((booking.target == account) - (booking.source == account))
            for booking in self.bookings.values()
        )

    def write(self, booking: Booking) -> Booking:
        os.lseek(self._file.fileno(), 0, os.SEEK_END)
        self._file.write(msgspec.json.encode(booking) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.bookings[booking.id] = booking
        return booking

    def output(self, booking: Booking) -> dict[str, Any]:
        return {
            "entry": booking.id,
            "source": booking.source,
            "target": booking.target,
            "amount": booking.amount,
            "balance": self.balance(booking.source),
        }


@contextmanager
def _opened(context: StepContext, name: str) -> Iterator[_Book]:
    root: Path | None = context.settings.bucket_root
    if root is None:
        raise TerminalError(
            "ledgers are off: set AGENTFLOW_BUCKET_ROOT to the folder that holds them", kind="ledger_not_configured"
        )
    if not _NAME.match(name):
        raise InvalidError(
            f"the ledger {name[:80]!r} is not valid: use letters, digits, '_' or '-'", kind="ledger_invalid"
        )
    path = resolve(f"ledgers/{name}.jsonl", (root,), writing=True, setting="AGENTFLOW_BUCKET_ROOT")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield _Book(file, name)
    except OSError as error:
        raise RetryableError(f"the ledger {name!r} can't be written ({error.strerror})", kind="ledger_io") from error
