"""A campaign with every fault, to see that each is found."""

from __future__ import annotations

import os
import time

from edgepipe.errors import InputError
from tests.fuzz.campaign import Campaign, Outcome

WRONG, RAW, HUNG, LOST, BLAMED = 2, 3, 5, 7, 8


class FaultyCampaign(Campaign):
    """Case n is faulty as the names say, and equal otherwise."""

    name, unit, count, seconds = "tests.fuzz.faulty_campaign:FaultyCampaign", "cases", 12, 1.0

    def make(self, index: int) -> int:
        return index

    def run(self, case: int) -> Outcome:
        if case == WRONG:
            return Outcome("wrong", "another answer")
        if case == RAW:
            raise ValueError("from below")
        if case == HUNG:
            time.sleep(60)
        if case in (LOST, BLAMED):
            os._exit(3)
        if case == 0:
            raise InputError("ours, but nobody expected it")
        return Outcome("equal", size=10)

    def blame(self, case: int, kind: str) -> str:
        return "library" if case == BLAMED else kind


class EndlessCampaign(FaultyCampaign):
    """Cases that take a while."""

    name = "tests.fuzz.faulty_campaign:EndlessCampaign"

    def run(self, case: int) -> Outcome:
        time.sleep(0.05)
        return Outcome("equal")
