"""The mail plane: standard Dovecot and Postfix as child processes of Postroom, which read the views
in schema/mail_views.sql.

No file of the mail plane names an account. The views decide which accounts can log in or receive
mail. The daemons see a change in the views at the next LOGIN or RCPT, without a reload.
"""
