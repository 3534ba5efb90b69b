"""Whether the text of a script forwards mail: actions count, comments and strings do not."""

import pytest

from postroom.mailplane.dovecot.sieve_scripts import forwards


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('redirect "a@b.example";', True),
        ('REDIRECT :copy "a@b.example";', True),
        ('require ["copy"];\nif header :is "X" "y" { ReDirect "a@b.example"; stop; }', True),
        ('if false{redirect "a@b.example";}', True),
        ('redirect/* to whom? */"a@b.example";', True),
        ('/* redirect "a@b.example"; */ keep;', False),
        ('# redirect "a@b.example";\nkeep;', False),
        ('# /*\nredirect "a@b.example"; # */', True),
        ('/* # */ redirect "a@b.example";', True),
        ('fileinto "redirect";', False),
        ('fileinto "say \\"redirect";', False),
        ('fileinto "a # b"; redirect "a@b.example";', True),
        ('vacation text:\nredirect "a@b.example";\n.\n;', False),
        ('vacation text: # why\r\nredirect\r\n..redirect\r\n.\r\n; redirect "a@b.example";', True),
        ('vacation "text:\n"; redirect "a@b.example";\n', True),
        ('set "redirect" "1"; keep;', False),
        ("fileinto :redirect;", False),
        ("redirected; my_redirect; redirect2;", False),
        ("", False),
        ("/* never closed redirect", False),
        ('"never closed redirect', False),
    ],
)
def test_one_script(script: str, expected: bool) -> None:
    assert forwards("main", {"main": script}) is expected


def test_scripts_that_are_included() -> None:
    scripts = {
        "main": 'require "include"; include :personal :once "a \\"b\\""; include "main"; include "gone";',
        'a "b"': "include text:\nlast\n.\n;",
        "last": 'redirect "a@b.example";',
        "alone": 'redirect "a@b.example";',
        "quiet": 'include "main2"; fileinto "alone";',
        "main2": 'include "quiet";',
    }
    assert [forwards(name, scripts) for name in ("main", "last", "quiet", "gone")] == [True, True, False, False]


@pytest.mark.parametrize(
    "name",
    [
        "${hex: 6f}ther",
        "${HEX:6F 74}${hex:68}er",
        "o${Unicode:0074 68 }er",
        "\\${hex:6f}ther",
        "${hex:zz}",
        "${unicode:ffffff d800}",
        "${hex:c3}",
    ],
)
def test_a_name_with_encoded_characters(name: str) -> None:
    """Dovecot decodes it (RFC 5228 2.4.2.4), so a name in this form hides no script."""
    scripts = {
        "main": f'require ["include", "encoded-character"]; include "{name}";',
        "other": 'redirect "a@b.example";',
    }
    assert forwards("main", scripts) is name.endswith("er")


def test_a_name_with_an_encoded_letter_beyond_ascii() -> None:
    scripts = {"ü": 'redirect "a@b.example";'}
    assert forwards("main", scripts | {"main": 'include "${hex:c3}${hex: bc}";'})
    assert forwards("main", scripts | {"main": 'include "${unicode:fc}";'})
