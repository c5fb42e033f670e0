"""Connections to one server."""

import asyncio

from synth.engines.server.http import Http
from tests.synth.engines.misbehaving import Body, MisbehavingServer, reply


def test_a_request_given_up_at_any_moment_leaves_no_connection_that_hangs() -> None:
    async def run() -> None:
        answered = asyncio.Event()

        async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
            await reply(writer, {"fine": True})
            answered.set()

        async with MisbehavingServer() as server:
            server.always = behave
            http = Http(server.url, {})
            for turns in range(12):  # of the loop, after the answer was sent
                answered.clear()
                given_up = asyncio.ensure_future(http.once("POST", "/v1/completions", {}, silence=30.0))
                await answered.wait()
                for _ in range(turns):
                    await asyncio.sleep(0)
                given_up.cancel()
                await asyncio.gather(given_up, return_exceptions=True)
                answer = await asyncio.wait_for(http.once("POST", "/v1/completions", {}, silence=30.0), 60)
                assert answer.body == {"fine": True}
            await http.close()

    asyncio.run(run())
