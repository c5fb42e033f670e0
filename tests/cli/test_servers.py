"""Commands with several servers: the rows of one, each server's part in `run.json`, and what is refused."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import load_from_disk

import synth
from tests.conftest import MODEL, Here, Loop
from tests.synth.engines.misbehaving import Body, MisbehavingServer, answer_text, drop, slow

WORDS = ["one", "two", "three", "four", "red", "green", "blue", "small", "large", "old", "new", "long"]


def written(body: Body) -> Any:
    """An answer that depends on the seed alone, with the log-probabilities of an echoed prompt."""
    dice = random.Random(body["seed"])
    prompt = list(body["prompt"])
    scored = [None, *(-float(token % 7) for token in prompt[1:])] if body.get("echo") else []
    values = [*scored, *[-1.0] * max(body["max_tokens"] > 0, not scored)]
    logprobs = {"token_logprobs": values, "top_logprobs": [{"a": -len(prompt) / 10}]} if "logprobs" in body else None
    return answer_text(" ".join(dice.choices(WORDS, k=12)), logprobs=logprobs)(body)


@pytest.fixture
def servers(loop: Loop) -> Iterator[list[MisbehavingServer]]:
    three = [MisbehavingServer(answer=written, models={"data": [{"id": "m", "max_model_len": 512}]}) for _ in range(3)]
    for server in three:
        loop.run(server.__aenter__())
        server.always = slow(0.01)
    yield three
    for server in three:
        loop.run(server.stop())


def engines(servers: list[MisbehavingServer]) -> list[str]:
    return [word for server in servers for word in ("--engine", server.url)]


def test_three_servers_make_the_rows_of_one_though_one_of_them_fails(
    here: Here, servers: list[MisbehavingServer], tmp_path: Path
) -> None:
    command = ("sample", "--model", MODEL, "-n", "60", "--length", "60", "--stop-at-end", "--concurrency", "12")
    one = here(*command, "--engine", servers[0].url, "-o", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    servers[1].always = drop
    three = here(*command, *engines(servers), "-o", tmp_path / "three")
    assert three.returncode == 0, three.stderr
    rows = [load_from_disk(str(tmp_path / name)).to_list() for name in ("one", "three")]
    assert rows[0] == rows[1] and len(rows[0]) == 60
    record = json.loads((tmp_path / "three/run.json").read_text())
    assert [server["url"] for server in record["servers"]] == [server.url for server in servers]
    assert record["servers"][0]["state"] == "well" and record["servers"][0]["requests"] > 0
    assert record["servers"][1]["requests"] == 0
    assert sum(server["completion_tokens"] for server in record["servers"]) >= record["completion_tokens"]
    assert "servers" not in json.loads((tmp_path / "one/run.json").read_text())


def test_scores_of_several_servers_are_those_of_one(servers: list[MisbehavingServer], tmp_path: Path) -> None:
    texts = [{"text": f"number {number} of many"} for number in range(40)]
    urls = tmp_path / "servers.txt"
    urls.write_text("".join(f"{server.url}\n" for server in servers))
    scored = []
    for name, engine in (("one", servers[0].url), ("three", str(urls))):
        with synth.load(MODEL, engine=engine) as model:
            scored.append(synth.score_tokens(model, texts, output=tmp_path / name))
    assert [row["logprobs"] for row in scored[0]] == [row["logprobs"] for row in scored[1]]
    assert {row["scorer"].split()[0] for row in scored[1]} == {f"{MODEL}@servers"}
    record = json.loads((tmp_path / "three/run.json").read_text())
    assert len(record["servers"]) == 3 and sum(server["requests"] for server in record["servers"]) == 40


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--engine", "http://a", "--engine", "vllm"), "--engine vllm: several are addresses of servers alone"),
        (("--engine", "http://127.0.0.1:9", "--engine", "http://127.0.0.1:10"), "none of the 2 servers can be used"),
        (("--engine", "{tmp}/empty"), "holds no address"),
    ],
)
def test_wrong_addresses_are_refused_in_one_line(here: Here, given: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# none\n")
    words = [word.replace("{tmp}", str(tmp_path)) for word in given]
    done = here("sample", "--model", MODEL, "-n", "2", *words, "-o", tmp_path / "out")
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1]
