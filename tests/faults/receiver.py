"""The receiver of a webhook that gets every event of the ledger's organization."""

from dataclasses import dataclass

from tests.faults.client import Client
from tests.faults.ledger import Ledger
from tests.webhooks.endpoint import Endpoint


@dataclass
class Receiver:
    """Every event since `created` must arrive here: at least once, and each time the same."""

    endpoint: Endpoint
    created: int

    @classmethod
    def of(cls, ledger: Ledger, endpoint: Endpoint) -> "Receiver":
        client = ledger.client()
        body = {"url": endpoint.url(), "events": ["*"]}
        made = client.call("POST", "/v2/webhooks/create", body)
        assert made
        assert made[0] == 201, made
        newest = client.get("/v2/events", order="newest", limit=1)["items"][0]["id"]
        client.close()
        return cls(endpoint, newest)

    def check(self, client: Client) -> None:
        """Waits until nothing is missing. Nothing arrives that is no event."""
        wanted, after = set(), self.created
        while page := client.get("/v2/events", limit=500, after=after)["items"]:
            after = page[-1]["id"]
            wanted |= {f"evt_{event['id']}" for event in page}
        self.endpoint.wait(lambda found: wanted <= {post.id for post in list(found.posts)}, 60)
        bodies: dict[str, bytes] = {}
        for post in list(self.endpoint.posts):
            assert bodies.setdefault(post.id, post.body) == post.body, "a repetition that differs"
            assert post.id == f"evt_{post.json['data']['id']}"
        assert {id_ for id_ in bodies if int(id_[4:]) <= after} <= wanted | {f"evt_{self.created}"}
