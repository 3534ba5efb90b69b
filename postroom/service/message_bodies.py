"""Makes the bodies of the messages that webhooks get: reads a message in its mailbox when it is
sent. No message is kept anywhere else."""

from typing import Any

from postroom.settings import Settings
from postroom.webhooks import bodies
from postroom.webhooks.attempts import Message


class MessageBodies:
    """Called with a message, returns the body; None if the message is gone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, message: Message) -> bytes | None:
        base = f"{self._settings.public_base}/v2/email-accounts/{message.account_id}/messages"
        id_ = f"{message.uidvalidity}.{message.uid}"
        shown: dict[str, Any] = {
            "account_id": message.account_id,
            "address": message.address,
            "user_id": message.user_id,
            "message_id": id_,
            "raw_url": f"{base}/{id_}/raw",
        }
        return bodies.of_message(message.received_at, shown)
