"""Checks of answers, for the worker processes of rewards, which import them: nothing heavy beside them."""


def always(response: str, reference: str) -> bool:
    """Right, whatever the answer is."""
    return True


def hangs(response: str, reference: str) -> bool:
    """Ends with some references only."""
    while "hang" in reference:
        pass
    return True


def cut_off(response: str, reference: str) -> bool:
    """Whether an answer is thoughts that were cut off."""
    return response.startswith("<think>")
