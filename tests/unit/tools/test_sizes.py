"""The limits of the library's files are checked."""

from tools.sizes import LINES, LINES_OF_A_FUNCTION, MODULES, too_large


def test_what_is_larger_than_its_limit_is_named(tmp_path):
    (tmp_path / "long.py").write_text("x = 1\n" * (LINES + 1))
    (tmp_path / "one.py").write_text("def f():\n" + "    x = 1\n" * LINES_OF_A_FUNCTION)
    crowded = tmp_path / "crowded"
    crowded.mkdir()
    for k in range(MODULES + 1):
        (crowded / f"m{k}.py").touch()
    found = list(too_large(tmp_path))
    assert len(found) == 3
    assert f"{crowded}: {MODULES + 1} modules" in found[0]
    assert f"{tmp_path / 'long.py'}: {LINES + 1} lines" in found[1]
    assert f"one.py:1: f has {LINES_OF_A_FUNCTION + 1} lines" in found[2]


def test_what_is_within_the_limits_is_not(tmp_path):
    (tmp_path / "__init__.py").touch()
    for k in range(MODULES):
        (tmp_path / f"m{k}.py").write_text("def f():\n" + "    x = 1\n" * (LINES_OF_A_FUNCTION - 1))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "long.py").write_text("x = 1\n" * (LINES + 1))
    assert list(too_large(tmp_path)) == []
