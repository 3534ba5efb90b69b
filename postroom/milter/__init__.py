"""What Postfix asks before it takes a message (milter protocol): a listener for each way in or out,
one rule for all.

Postfix asks here first and opendkim second, so that a refused message is never signed.
"""
