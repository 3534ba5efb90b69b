"""`postroom webhooks listen`: a receiver for development."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from postroom.settings import BadSettings

app = typer.Typer(no_args_is_help=True, help="Receive webhooks, for development.")

PORT = 8787

Port = Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0: a free one.")]
Secret = Annotated[str | None, typer.Option(help="The secret of the webhook; other users can see it in `ps`.")]
SecretFile = Annotated[Path | None, typer.Option(help="A file with the secret in its first line; -: stdin.")]
Answer = Annotated[int, typer.Option(min=200, max=599, help="The status to answer, to try out failures.")]


@app.command()
def listen(port: Port = PORT, secret: Secret = None, secret_file: SecretFile = None, answer: Answer = 204) -> None:
    """Receive deliveries on the loopback, verify them, and print them as lines of JSON."""
    from postroom.webhooks import receiver

    with receiver.serve(_secret(secret, secret_file), port, answer) as server:
        print(f"listening on http://127.0.0.1:{server.server_address[1]}/ until Ctrl-C", file=sys.stderr, flush=True)
        server.serve_forever()


def _secret(secret: str | None, file: Path | None) -> str:
    """The secret of an option. Raises BadSettings."""
    from postroom.webhooks import signing

    try:
        if file is not None:
            secret = (sys.stdin.readline() if str(file) == "-" else file.read_text("utf-8").partition("\n")[0]).strip()
        signing.headers([secret or ""], "", 0, b"")
    except OSError as error:
        raise BadSettings(f"{file}: {error.strerror}.") from None
    except ValueError:
        raise BadSettings("This is no secret of a webhook: one begins with whsec_, and base64 follows.") from None
    if not secret:
        raise BadSettings("Give --secret or --secret-file: the answer that made the webhook has the secret.")
    return secret
