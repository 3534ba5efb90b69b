"""The receiver of a webhook that gets every event and all mail of the ledger's organization."""

from dataclasses import dataclass

from tests.faults.client import Client
from tests.faults.ledger import Ledger
from tests.webhooks.endpoint import Endpoint, Post


@dataclass
class Receiver:
    """Every event since `created`, and all mail that SMTP accepted, must arrive here: at least
    once, and each time the same."""

    endpoint: Endpoint
    created: int
    mails: dict[str, list[str]]

    @classmethod
    def of(cls, ledger: Ledger, endpoint: Endpoint) -> "Receiver":
        client = ledger.client()
        body = {"url": endpoint.url(), "events": ["*", "message.received"]}
        made = client.call("POST", "/v2/webhooks/create", body)
        assert made
        assert made[0] == 201, made
        newest = client.get("/v2/events", order="newest", limit=1)["items"][0]["id"]
        client.close()
        return cls(endpoint, newest, ledger.mails)

    def check(self, client: Client) -> None:
        """Waits until nothing is missing. Nothing arrives that is no event."""
        wanted, after = set(), self.created
        while page := client.get("/v2/events", limit=500, after=after)["items"]:
            after = page[-1]["id"]
            wanted |= {f"evt_{event['id']}" for event in page}
        self.endpoint.wait(lambda found: wanted <= {post.id for post in list(found.posts)}, 60)
        mails = {(address, subject) for address, subjects in self.mails.items() for subject in subjects}
        self.endpoint.wait(lambda found: mails <= {_mail(post) for post in list(found.posts)}, 90)
        bodies: dict[str, bytes] = {}
        for post in list(self.endpoint.posts):
            assert bodies.setdefault(post.id, post.body) == post.body, "a repetition that differs"
            assert post.id.startswith("msg_") or post.id == f"evt_{post.json['data']['id']}"
        found = {id_ for id_ in bodies if id_.startswith("evt_") and int(id_[4:]) <= after}
        assert found <= wanted | {f"evt_{self.created}"}
        # A delivery that Dovecot acknowledged and Postfix did not hear of is made once more.
        assert {_mail(post) for post in list(self.endpoint.posts) if post.id.startswith("msg_")} >= mails


def _mail(post: Post) -> tuple[str, str] | None:
    """The address and the subject of a received message; None for an event."""
    data = post.json["data"]
    return (data["address"], data["subject"]) if post.id.startswith("msg_") else None
