"""What every `Turn` does that several processes share."""

from __future__ import annotations

from collections.abc import Callable

from soma_core.ports.turn import Turn
from tests.support.serving import until

Make = Callable[[str], Turn]


class TurnContract:
    """Give the fixture `make`: a turn at what is named, as another process has it."""

    def test_one_has_it_and_the_others_do_not(self, make: Make) -> None:
        one, another = make("indexing"), make("indexing")
        assert one.holder() is None
        assert [one.is_mine(), another.is_mine(), one.is_mine()] == [True, False, True]
        assert one.holder()
        assert another.holder() == one.holder()

    def test_turns_at_different_things_do_not_meet(self, make: Make) -> None:
        assert [make(what).is_mine() for what in ("one", "another", "one' or %s")] == [True] * 3

    def test_who_lets_go_may_take_it_again(self, make: Make) -> None:
        one, another = make("indexing"), make("indexing")
        assert one.is_mine()
        one.let_go()
        until(another.is_mine, "the turn of the other")
        another.let_go()
        until(one.is_mine, "the turn again")

    def test_who_is_given_way_to_takes_it_and_who_gave_up_does_not_take_it_again(self, make: Make) -> None:
        one, another = make("indexing"), make("indexing")
        assert one.is_mine()
        one.give_up()
        until(another.is_mine, "the turn of the other")
        another.give_up()
        assert [one.is_mine(), another.is_mine()] == [False, False]
        assert make("indexing").is_mine()
