"""Commands with several servers: the rows of one, though some die, each one's part in `run.json`, what is refused."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import load_from_disk

import synth
from tests.cli.running import Command
from tests.conftest import MODEL, Here, Loop
from tests.synth.engines.misbehaving import Behaviour, Body, MisbehavingServer, drop, slow
from tests.synth.engines.talking import MODELS, WORDS, serve, written


@pytest.fixture
def servers(loop: Loop) -> Iterator[list[MisbehavingServer]]:
    three = [MisbehavingServer(answer=written, models=MODELS) for _ in range(3)]
    for server in three:
        loop.run(server.__aenter__())
        server.always = slow(0.01)
    yield three
    for server in three:
        loop.run(server.stop())


def engines(servers: list[MisbehavingServer]) -> list[str]:
    return [word for server in servers for word in ("--engine", server.url)]


def dying(answers: int) -> Behaviour:
    """Some answers, late; with the next request the server is gone."""
    ending: list[asyncio.Task[None]] = []

    async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        nonlocal answers
        if (answers := answers - 1) < 0:
            ending.append(asyncio.ensure_future(server.stop()))  # it cuts this very connection
            await asyncio.Event().wait()
        await slow(0.01)(server, writer, body)

    return behave


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


def test_scores_of_several_servers_are_those_of_one_though_one_of_them_dies(
    servers: list[MisbehavingServer], tmp_path: Path
) -> None:
    texts = [{"text": f"number {number} of many"} for number in range(40)]
    urls = tmp_path / "servers.txt"
    urls.write_text("".join(f"{server.url}\n" for server in servers))
    scored = []
    for name, engine in (("one", servers[0].url), ("three", str(urls))):
        servers[2].always = dying(5)
        with synth.load(MODEL, engine=engine) as model:
            scored.append(synth.score_tokens(model, texts, output=tmp_path / name))
    assert [row["logprobs"] for row in scored[0]] == [row["logprobs"] for row in scored[1]]
    assert {row["scorer"].split()[0] for row in scored[1]} == {f"{MODEL}@servers"}
    record = json.loads((tmp_path / "three/run.json").read_text())
    assert len(record["servers"]) == 3 and sum(server["requests"] for server in record["servers"]) == 40
    assert record["servers"][2]["requests"] <= 5 and record["servers"][2]["state"] != "well"


def test_an_evaluation_on_several_servers_is_that_on_one_though_one_of_them_dies(
    here: Here, servers: list[MisbehavingServer], tmp_path: Path
) -> None:
    items = [{"prompt": f"Say {word} {n}", "reference": word, "verifier": "exact"} for n in range(8) for word in WORDS]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, items)))
    command = ("eval", tmp_path / "words.jsonl", "--model", f"m={MODEL}", "--concurrency", "12", "--max-tokens", "40")
    one = here(*command, "--engine", servers[0].url, "-o", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    servers[1].always = dying(5)
    two = here(*command, *engines(servers[:2]), "-o", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert any(servers[1].url in line and "it is left out" in line for line in two.stderr.splitlines())
    rows = [load_from_disk(str(tmp_path / name / "answers/m")).to_list() for name in ("one", "two")]
    assert rows[0] == rows[1] and len(rows[0]) == len(items)
    assert one.stdout == two.stdout
    record = json.loads((tmp_path / "two/answers/m/run.json").read_text())
    assert record["servers"][1]["requests"] <= 5 and record["servers"][0]["requests"] >= len(items) - 5


def started(port: int) -> Command:
    """The process of a server that answers on a port."""
    server = Command(port, 0.05, program=serve)
    server.start()
    while True:
        assert server.is_alive(), server.said
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server
        except OSError:
            time.sleep(0.01)


def test_processes_of_servers_are_killed_and_started_again_in_the_middle_of_a_run(
    here: Here, servers: list[MisbehavingServer], tmp_path: Path
) -> None:
    """Each in turn, at moments of the run, once both at once: it waits for one, and goes on."""
    command = ("sample", "--model", MODEL, "-n", "150", "--length", "60", "--stop-at-end", "--concurrency", "4")
    assert here(*command, "--engine", servers[0].url, "-o", tmp_path / "whole").returncode == 0
    ports = [free_port(), free_port()]
    urls = [word for port in ports for word in ("--engine", f"http://127.0.0.1:{port}")]
    journal = tmp_path / "killed/journal.jsonl"
    running = {port: started(port) for port in ports}

    def kill(port: int) -> None:
        running.pop(port).__exit__()

    try:
        with Command(*command, *urls, "-o", tmp_path / "killed") as run:

            def until(rows: int) -> None:
                while run.is_alive() and not (journal.exists() and journal.read_bytes().count(b"\n") >= rows):
                    time.sleep(0.01)
                assert run.is_alive(), run.said

            until(10)
            kill(ports[0])
            until(40)
            kill(ports[1])
            running[ports[0]] = started(ports[0])
            until(80)
            running[ports[1]] = started(ports[1])
            kill(ports[0])
            assert run.wait() == 0, run.said
    finally:
        for port in list(running):
            kill(port)
    rows = [load_from_disk(str(tmp_path / name)).to_list() for name in ("whole", "killed")]
    assert rows[0] == rows[1] and len(rows[0]) == 150


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


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
