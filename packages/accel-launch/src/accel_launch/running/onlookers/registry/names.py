"""Names for runs that are easy to say and to type."""

from __future__ import annotations

import os

FIRST = """
    able agile amber apt bold brave brief bright brisk calm civil clean clear clever cosmic crisp dapper deft
    eager early  easy fair famous fine fleet fond frank fresh gentle glad golden grand happy honest humble jolly
    keen kind light lively  loyal lucid lucky mellow merry mild neat noble patient plain proud quick quiet ready
    round silver sleek smart snug  solid steady sunny swift tidy vivid warm wise witty
""".split()  # noqa: SIM905
SECOND = """
    ant badger bat bear beaver bee bison bobcat camel cat cod crab crane crow deer dingo dove duck eagle eel elk
    falcon  ferret finch fox frog gecko goose gull hare hawk hen heron horse ibex jay kiwi koala lark lemur lion
    lynx mole moose  moth mouse newt otter owl panda perch pike pony puffin quail rabbit raven robin salmon seal
    shrew sloth snail sparrow  squid stork swan tapir tern tiger toad trout turtle viper vole walrus wasp weasel
    whale wolf wombat wren yak zebra
""".split()  # noqa: SIM905


def chosen() -> str:
    """Return a name such as ``brave-otter``."""
    first, second = os.urandom(2)
    return f"{FIRST[first % len(FIRST)]}-{SECOND[second % len(SECOND)]}"
