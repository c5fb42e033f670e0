"""Seeds that depend on what is sampled, never on when or together with what."""

import hashlib


def seed_of(run_seed: int, row_id: str, *attempt: object) -> int:
    """The seed of one draw: a function of the run's seed, the row and the attempt (turn, sample, retry) alone.

    53 bits, so that it passes through JSON and servers unchanged.
    """
    text = ":".join(map(str, (run_seed, row_id, *attempt)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 11
