"""An event of a stream of changes."""

from postroom.client.shape import Shape


class MailboxChange(Shape, frozen=True, rename={"event_type": "eventType"}):
    """A mailbox has changed. `token` is that of a client that has synced now. `last_event_id` is
    where a stream goes on that is opened later, also by another program."""

    mailbox: str
    uidvalidity: str
    token: str
    event_type: str
    last_event_id: str
