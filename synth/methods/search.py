"""Stream of search: a trace that goes wrong, turns back and ends right (arXiv 2404.03683).

Models trained only on direct solutions do not learn to abandon a wrong path; those trained on mistakes, and how they
are corrected, do. The paper generates its searches by program. Here the mistakes are the model's own: wrong attempts at
the task, joined to a right one by sentences that turn back.
"""

import random
import re
from collections.abc import Sequence

from synth.chat.thinking import Thinking, loose

TURN_BACKS = (
    "Wait, that does not look right. Let me try again.",
    "Wait, something went wrong there. I will start over.",
    "Wait, I made a mistake. Let me work it out again from the beginning.",
    "Wait, that cannot be the answer. Let me go through it once more.",
    "Hmm, that does not hold up. Back to the start.",
    "No, that is not it. I will take it step by step again.",
)


def join(wrong: Sequence[str], right: str, thinking: Thinking, choice: random.Random) -> str:
    """One trace: the working of wrong attempts, each left by a sentence that turns back, then the right one.

    The white space before `right` stays. Where `right` has thoughts, all of it happens in them.

    Args:
        wrong: the working of the wrong attempts, in the order they shall be made.
        right: a whole trace.
        thinking: how its thoughts are marked.
        choice: draws the sentences, none twice in a row.
    """
    opened = re.match(rf"\s*{loose(thinking.opener)}", right)
    at = opened.end() if opened else 0
    start = at + len(right[at:]) - len(right[at:].lstrip())
    pieces, last = [], ""
    for working in wrong:
        last = choice.choice([words for words in TURN_BACKS if words != last])
        pieces += [working.strip(), last]
    return right[:start] + "\n\n".join([*pieces, right[start:]])
