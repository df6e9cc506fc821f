"""JetStream tells the truth late, twice, or in disorder."""

import random

import nats

from agentos_shared.contracts import subjects
from tests.faults.case import Case
from tests.fixtures.live import until


async def test_old_messages_published_again_in_disorder(case: Case) -> None:
    """Somebody with the rights of the API publishes what was published before, shuffled, while writers write."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            client = await nats.connect(cluster.settings_of("api")["AGENTOS_NATS_URL"], inbox_prefix="_INBOX_api")
            try:
                js = client.jetstream()
                last = (await js.stream_info(subjects.EVENTS_STREAM)).state.last_seq
                for _ in range(5):
                    old = [await js.get_msg(subjects.EVENTS_STREAM, last - back) for back in range(40)]
                    random.Random(case.seed).shuffle(old)
                    for message in old:
                        headers = dict(message.headers or {})
                        for name in (
                            subjects.HEADER_EVENT_ID,  # or the server would know it again
                            subjects.HEADER_EXPECTED_LAST_EVENT_ID,
                            subjects.HEADER_EXPECTED_LAST_SEQUENCE,
                        ):
                            headers.pop(name, None)
                        await client.publish(message.subject or "", message.data or b"", headers=headers)
                    await client.flush()
                    await load.acked(20)
            finally:
                await client.close()


async def test_the_stream_deleted_under_load(case: Case) -> None:
    """Stream and consumers vanish while everything runs."""
    cluster = case.cluster
    async with case.load() as load:
        with load.fault():
            client = await nats.connect(cluster.settings_of("api")["AGENTOS_NATS_URL"], inbox_prefix="_INBOX_api")
            try:
                js = client.jetstream()
                await js.delete_stream(subjects.EVENTS_STREAM)

                async def back() -> bool:
                    try:
                        info = await js.stream_info(subjects.EVENTS_STREAM)
                    except nats.js.errors.NotFoundError:
                        return False
                    return info.state.messages > 0

                await until(back, 40)
            finally:
                await client.close()
    await case.check_whole_store()
