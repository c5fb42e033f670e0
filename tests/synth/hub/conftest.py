"""What tests of pushing share: a stand-in for the Hub, and a client that knows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.synth.hub.stand_in import Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The stand-in, to which `huggingface_hub` in this process goes as `ann`, who may write."""
    from huggingface_hub import constants
    from huggingface_hub.utils._http import close_session

    with Hub().running() as server:
        address = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # large files by LFS, which is plain HTTP
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits before it tries again
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        close_session()
        yield server
        close_session()
