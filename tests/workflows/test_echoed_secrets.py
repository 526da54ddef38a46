"""Receivers that repeat what they were sent: their responses are kept in history, without the secrets."""

from urllib.parse import urlsplit

from instances import Instance
from receivers import Answer, Receiver

QUERY, HEADER, PATH = "s3cr3t-in-the-query", "s3cr3t-in-a-header", "TOPSECRETPATH"


async def test_no_history_has_a_secret_that_a_receiver_repeats(instance: Instance, inbox: Receiver) -> None:
    host = urlsplit(inbox.url).netloc
    inbox.otherwise = Answer(
        500, f"Cannot POST /hooks/{PATH}?key={QUERY} by Bearer {HEADER}", {"x-echo": HEADER, "x-at": QUERY}
    )
    headers = {"authorization": f"Bearer {HEADER}"}
    notification = {"http": {"url": f"http://{host}/hooks/{PATH}?key={QUERY}", "headers": headers}}
    await instance.webhook(
        f"{inbox.url}?key={QUERY}", headers=headers, notifications=[notification], retry={"schedule": []}
    )
    event = await instance.until_final((await instance.send())["id"])
    said = {delivery["channel"]: delivery["attempts"][0]["response_excerpt"] for delivery in event["deliveries"]}
    assert said == {
        "webhook": f"Cannot POST /hooks/{PATH}?key=******** by ********",  # its own path is shown as its target
        "notification": "Cannot POST ********?key=******** by ********",
    }
    history = (await instance.run(event["id"]).fetch_history()).to_json()
    assert QUERY not in history and HEADER not in history
