"""msgspec's sentences about wrong types and values, in the words of the documents."""

import re

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "datetime": "a time",
}
UNITS = {"str": "character", "array": "item", "object": "member"}
TIME = "Use a time with its zone, like 2027-01-31T00:00:00Z"
_TYPES = re.compile(r"Expected `([a-z| ]+)`, got `([a-z]+)`")
_LENGTH = re.compile(r"Expected `([a-z]+)` of length (>=|<=) (\d+)")
_BOUND = re.compile(r"Expected `(?:int|float)` (>=|<=) (\d+)")


def in_words(problem: str) -> str:
    """Returns a sentence, without its full stop, that says what to send. One that is not known
    stays as it is."""
    if found := _TYPES.fullmatch(problem):
        return f"Send {' or '.join(_word(one) for one in found[1].split(' | '))}, not {_word(found[2])}"
    if found := _LENGTH.fullmatch(problem):
        kind, sign, number = found.groups()
        bound = "at least" if sign == ">=" else "at most"
        return f"Send {_word(kind)} of {bound} {number} {UNITS[kind]}{'' if number == '1' else 's'}"
    if found := _BOUND.fullmatch(problem):
        return f"The {'smallest' if found[1] == '>=' else 'largest'} value is {found[2]}"
    return TIME if problem.startswith("Invalid RFC3339 encoded datetime") else problem


def _word(kind: str) -> str:
    return WORDS.get(kind, kind)
