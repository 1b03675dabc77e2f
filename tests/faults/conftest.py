"""What the scenarios assert is explained like what a test asserts."""

import pytest

pytest.register_assert_rewrite("tests.parked.scenarios", "tests.parked.deployment")
