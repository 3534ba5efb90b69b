"""The milter, which Postfix asks before it accepts a message (milter protocol). There is a listener
for each way in or out.

Postfix asks this milter first and opendkim second, so that a refused message is never signed.
"""
