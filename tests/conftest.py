"""What the tests need from pytest and trial gives by itself: a directory to work in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """
    Leave the checkout: C{mktemp} makes its directories below the current one.

    It also shows that nothing depends on where the tests are started.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trial"))
        yield
