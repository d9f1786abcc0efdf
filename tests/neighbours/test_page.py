"""The page "Works with" lists the neighbours that the tests try, and what they have found out."""

from __future__ import annotations

from tests.neighbours import page


def test_the_page_lists_exactly_the_neighbours_that_are_tried() -> None:
    tried = [name for neighbours in page.NEIGHBOURS.values() for name in neighbours]
    assert list(page.read()) == tried
    assert len(set(tried)) == len(tried)


def test_the_page_is_what_the_tests_have_found_out() -> None:
    findings = page.read()
    assert page.made_part(page.PAGE.read_text("utf-8")) == page.tables(findings)
    # A neighbour of which nothing is known has never been tried.
    assert [name for name, rows in findings.items() if not rows] == []
    assert [name for name, rows in findings.items() if not all(row.answers for row in rows)] == []
