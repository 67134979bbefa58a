"""Hooks of several owners: all are called, each is taken back alone, and one that raises harms no other."""

from __future__ import annotations

from peerstack.stack.hooks import Hooks


class Failures(list[tuple[str, str]]):
    """What was told of hooks that raised."""

    def __call__(self, error: Exception, name: str) -> None:
        self.append((name, str(error)))


def test_all_hooks_are_called_in_the_order_of_their_registration() -> None:
    seen: list[tuple[str, int]] = []
    hooks = Hooks[int](Failures())
    hooks.add(lambda value: seen.append(("a", value)), name="a")
    hooks.add(lambda value: seen.append(("b", value)), name="b")
    hooks(7)
    assert seen == [("a", 7), ("b", 7)]


def test_a_hook_is_taken_back_by_its_owner_alone_even_where_two_registered_the_same_function() -> None:
    seen: list[int] = []
    hooks = Hooks[int](Failures())
    remove = hooks.add(seen.append, name="a")
    hooks.add(seen.append, name="b")
    remove()
    remove()
    hooks(7)
    assert seen == [7]


def test_a_hook_that_raises_is_named_and_the_others_are_called() -> None:
    seen: list[int] = []
    failures = Failures()
    hooks = Hooks[int](failures)

    def fail(value: int) -> None:
        raise ValueError(f"no {value}")

    hooks.add(fail, name="a")
    hooks.add(seen.append, name="b")
    hooks(7)
    assert (seen, failures) == ([7], [("a", "no 7")])


def test_a_hook_may_take_back_itself_while_it_is_called() -> None:
    seen: list[int] = []
    hooks = Hooks[int](Failures())

    def once(value: int) -> None:
        seen.append(value)
        remove()

    remove = hooks.add(once, name="a")
    hooks.add(seen.append, name="b")
    hooks(1)
    hooks(2)
    assert seen == [1, 1, 2]
