"""The queries that the mail daemons ask, read from their configuration."""

import re
from dataclasses import replace

from postroom.mailplane import render
from postroom.mailplane.render import OwnNode, Plane
from postroom.settings import load


def daemon_queries(engine: str) -> dict[str, str]:
    """The queries in the generated configuration of the daemons, with values for the daemons'
    variables."""
    role = {"host": "x", "dbname": "x", "user": "x"} if engine == "postgresql" else None
    node = OwnNode(1, "x", 1, "x", "x", "x", "x", "192.0.2.1", ("192.0.2.1",)) if role else None
    plane = Plane("x", "x", root=True, python="/x", doveadm_key="x", postgres=role)
    files = _files(plane)
    found = {f"postfix {name}": files[f"postfix/{name}.cf"].partition("query = ")[2] for name in render.MAPS}
    login, account = _lua_queries(files)
    if role:
        of_nodes = _files(replace(plane, node=node))
        found |= {f"postfix {n}": of_nodes[f"postfix/{n}.cf"].partition("query = ")[2] for n in render.NODE_MAPS}
        found |= dict(zip(("dovecot login of nodes", "dovecot account of nodes"), _lua_queries(of_nodes), strict=True))
    found |= {"dovecot login": login, "dovecot account": account}
    for table, user, value, field in re.findall(
        r"table = (\w+)\n  username_field = (\w+)\n  value_field = (\w+)\n  fields {\n    (\w+)",
        files["dovecot/scripts.conf.ext"],
    ):
        # The query that Dovecot's dict sends.
        query = f"SELECT {value} FROM {table} WHERE {field} = 'x' AND {user} = '7@acct.internal'"
        found[f"dovecot {value}"] = query
    text = files["opendkim/opendkim.conf"]
    for table, key, columns in re.findall(r"table=(\w+)\?keycol=(\w+)\?datacol=([\w,]+)", text):
        # The query that opendkim sends.
        found[f"opendkim {table}"] = f"SELECT {columns} FROM {table} WHERE {key} = 'x.test'"
    values = {"%u": "7", "%Ln": "a", "%n": "7", "%Ld": "x.test", "%s": "imap", "%r": "192.0.2.1", "%%": "%"}
    for name, query in found.items():
        by_id = any(view in query for view in ("mail_recipients", "mail_sessions", "FROM mail_homes"))
        values["%d"] = "acct.internal" if by_id else "x.test"
        found[name] = re.sub(r"%(?:L?[nd]|u|s|r|%)", lambda m: values[m[0]], query)
    return found


def _files(plane: Plane) -> dict[str, str]:
    return {path: file.text for path, file in render.configuration(load({"POSTROOM_DATA": "/x"}), plane).items()}


def _lua_queries(files: dict[str, str]) -> tuple[str, str]:
    """The two queries of auth.lua: by address and by account id."""
    login, account = re.findall(r"ask\(\[\[(.*?)\]\]", files["dovecot/auth.lua"])
    return (
        re.sub(r"\$[1-5]", lambda m: {"$1": "'a'", "$2": "'x.test'", "$3": "'imap'"}.get(m[0], "'x'"), login),
        account.replace("$1", "'7'").replace("$2", "'acct.internal'").replace("$3", "'lmtp'"),
    )
