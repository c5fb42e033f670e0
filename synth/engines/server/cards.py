"""What a server says of itself: its models, its software, and whether it may be asked to score a prompt."""

from dataclasses import dataclass

from synth.engines.server.http import Http, PermanentError, TransientError, printable
from synth.engines.server.retries import insisted
from synth.errors import UsageError
from synth.values import LARGEST_WINDOW

LOOKUP_SECONDS = 30.0
LORA_METRIC = "vllm:lora_requests_info"
"""vLLM counts requests with adapters where it was started with --enable-lora."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of `/v1/models`, as far as it is used. `root` is the path that vLLM loaded."""

    id: str
    root: str | None = None
    owner: str | None = None
    window: int | None = None
    parent: str | None = None

    @property
    def names(self) -> set[str]:
        """What it is called, the last parts of paths alone."""
        return {name.rstrip("/").rpartition("/")[2].lower() for name in (self.id, self.root) if name}


async def model_cards(http: Http, model: str | None, silence: float) -> list[ModelCard]:
    """The models that the server lists; none where it has no list and `model` says which to use.

    One try, as `Http.once` makes it.
    """
    try:
        body = (await http.once("GET", "/v1/models", silence=silence)).body
    except PermanentError as error:
        if error.status == 404 and model is not None:
            return []
        raise
    listed = body.get("data") if isinstance(body, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    windows = {entry.get("id"): entry.get("max_model_len") for entry in entries if isinstance(entry.get("id"), str)}
    cards = []
    for entry in entries:
        if isinstance(entry.get("id"), str):
            root, owner, window, parent = (entry.get(key) for key in ("root", "owned_by", "max_model_len", "parent"))
            if window is None and isinstance(parent, str):  # an adapter has the window of its model
                window = windows.get(parent)
            cards.append(
                ModelCard(
                    entry["id"],
                    root=root if isinstance(root, str) else None,
                    owner=owner if isinstance(owner, str) else None,
                    window=window if isinstance(window, int) and 0 < window <= LARGEST_WINDOW else None,
                    parent=parent if isinstance(parent, str) else None,
                )
            )
    return cards


def choose_model(http: Http, cards: list[ModelCard], model: str | None, *, exactly: bool) -> ModelCard:
    """The model of that name on a server, or, unless it is to be exactly that one, the only one that there is.

    Raises:
        UsageError: it does not list that model, and several others, or none.
    """
    for card in cards:
        if model is not None and model in (card.id, card.root):
            return card
    if len(cards) == 1 and not exactly:
        return cards[0]
    if not cards and model is not None:
        return ModelCard(model)
    if not cards:
        raise UsageError(f"the server at {http.url} lists no model: name the one to use with `model`")
    names = ", ".join(printable(card.id, 80) for card in cards[:10]) + (", …" if len(cards) > 10 else "")
    raise UsageError(f"the server at {http.url} does not list {model!r}; name one of its models: {names}")


async def software(http: Http, card: ModelCard) -> str:
    """The server's software for messages, such as "vLLM 0.32.0 "; empty where it is unknown."""
    if card.owner != "vllm":
        return ""
    try:
        body = (await http.once("GET", "/version", silence=LOOKUP_SECONDS)).body
    except (PermanentError, TransientError):
        body = None
    version = body.get("version") if isinstance(body, dict) else None
    return f"vLLM {printable(version, 20)} " if version else "vLLM "


async def takes_adapters(http: Http, cards: list[ModelCard]) -> bool:
    """Whether it is vLLM started with --enable-lora, which dies when it is asked for log-probabilities of a prompt.

    It lists adapters with the model that they belong to; with none loaded, its metrics still count requests with them.
    """
    if not any(card.owner == "vllm" for card in cards):
        return False
    if any(card.parent is not None for card in cards):
        return True
    try:
        return LORA_METRIC in await insisted(lambda silence: http.text("/metrics", silence=silence), LOOKUP_SECONDS)
    except (PermanentError, TransientError):
        return False
