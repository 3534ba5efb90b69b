"""The mail plane: real Dovecot and Postfix as children of Postroom, reading the views of
schema/mail_views.sql.

Nothing here knows an account. What may log in or receive is decided by the views, and
a change of them is seen at the next LOGIN or RCPT; no daemon is ever reloaded for it.
"""
