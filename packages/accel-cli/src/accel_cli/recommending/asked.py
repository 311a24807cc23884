"""The wizard's question for a model: what it is told, and the config file whose values it proposes."""

from __future__ import annotations

from accel_cli.recommending import showing, writing
from accel_cli.recommending.choosing import Question, choose, here
from accel_config.errors import AccelError
from accel_estimate import load


def recommend(model: str, method: str) -> tuple[str, str]:
    """Return the strategies for ``model`` on this machine, with the script's lines, and the file of the best one.

    Raises:
        AccelError: the model can't be read, or nothing fits.
    """
    answer = choose(load(model), Question(here(), method))
    table = showing.table(answer)
    best = answer.best
    if best is None:
        raise AccelError(table.rstrip())
    lines = ["The training script needs these lines:", *(f"    {line}" for line in writing.script(answer, best))]
    return "\n".join([table, f"The wizard proposes {best.name}.", *lines, ""]), writing.text(answer, best, "")
