"""Look-ups in the mail_* views: by which columns the daemons ask, and the functions of PostgreSQL.

Postfix and Lua send plain text, so PostgreSQL would plan each look-up in a view anew, which takes
longer than the look-up itself. A function keeps its plan as long as the connection lives (decision
0227).
"""

from collections.abc import Mapping

TEXT, NUMBER = "TEXT", "BIGINT"
BY_ADDRESS = {"local_part": TEXT, "domain": TEXT}
KEYS: dict[str, dict[str, str]] = {
    "mail_domains": {"name": TEXT},
    "mail_spellings": {"spelling": TEXT},
    "mail_passwords": BY_ADDRESS | {"app_digest": TEXT, "network": TEXT},
    "mail_aliases": BY_ADDRESS,
    "mail_roles": BY_ADDRESS,
    "mail_catch_alls": {"domain": TEXT},
    "mail_dead_ends": BY_ADDRESS,
    "mail_verdicts": BY_ADDRESS,
    "mail_reserved": BY_ADDRESS,
    "mail_refusals": BY_ADDRESS,
    "mail_senders": BY_ADDRESS,
    "mail_recipients": {"id": NUMBER},
    "mail_sessions": {"id": NUMBER, "domain": TEXT},
    "mail_homes": {"id": NUMBER},
}

# A look-up that has a row also where no app password has the digest, but none where the client may
# not try a password (decision 0265): then nothing is hashed, and the address looks unknown.
PASSWORDS = """mail_logins
LEFT JOIN mail_app_passwords ON mail_app_passwords.account_id = mail_logins.id AND app_digest = {app_digest}
WHERE local_part = {local_part} AND domain = {domain} AND EXISTS (
SELECT 1 FROM (SELECT {network} AS network) AS found
WHERE NOT EXISTS (SELECT 1 FROM mail_banned_networks WHERE mail_banned_networks.network = found.network)
AND (app_password IS NOT NULL OR attacked IS NULL)
OR EXISTS (SELECT 1 FROM mail_known_networks WHERE mail_known_networks.account_id = mail_logins.id
AND mail_known_networks.network = found.network))""".replace("\n", " ")


def rows(view: str, values: Mapping[str, str], *, has_functions: bool) -> str:
    """Returns what follows FROM to look up the rows of a view: a text with a WHERE that more
    conditions can be added to with AND. `values` has the SQL of each column's value."""
    if has_functions:
        return f"{name(view)}({', '.join(values[column] for column in KEYS[view])}) AS {view} WHERE TRUE"
    if view == "mail_passwords":
        return PASSWORDS.format(**values)
    return f"{view} WHERE " + " AND ".join(f"{column} = {values[column]}" for column in KEYS[view])


def name(view: str) -> str:
    """Returns the name of a view's function."""
    return f"{view}_by"


def query(view: str) -> str:
    """Returns the query of a view's function, with $1, $2 … for the values."""
    return f"SELECT * FROM {rows(view, {key: f'${n}' for n, key in enumerate(KEYS[view], 1)}, has_functions=False)}"


def _function(view: str) -> str:
    return f"""
CREATE FUNCTION {name(view)}({", ".join(KEYS[view].values())}) RETURNS SETOF {view}
LANGUAGE plpgsql STABLE ROWS 1 SET plan_cache_mode = force_generic_plan
AS $$ BEGIN RETURN QUERY {query(view)}; END $$"""


# The statement that makes the function of each view.
FUNCTIONS = {view: _function(view) for view in KEYS}
