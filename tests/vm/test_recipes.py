# SPDX-License-Identifier: BSD-2-Clause
"""The recipes of docs/recipes that are quick; and that a page fails if what it says is not what happens."""

import os
import pathlib
import re
import sys

import pytest

import ivshmem_wire as wire
import recipe
from recipe import run

pytestmark = pytest.mark.limit(300)

QUICK = [name for name, what in recipe.RECIPES.items() if what.quick]


@pytest.mark.parametrize("name", QUICK)
def test_recipe(image, accel, processes, name):
    process = wire.Process([sys.executable, os.path.join(wire.ROOT, "scripts", "recipes.py"), "--build", wire.BUILD,
                            "--accel", accel.name, name])
    processes.append(process)
    assert process.wait(280 * wire.FACTOR) == 0, process.describe()
    assert process.lines()[-1] == "1 passed, 0 failed"


def test_each_page_is_a_recipe():
    pages = {path.stem for path in run.PAGES.glob("*.md")} - {"README"}
    assert pages == set(recipe.RECIPES)
    readme = (run.PAGES / "README.md").read_text()
    assert all(f"({name}.md)" in readme for name in pages)


# ---- pages


@pytest.fixture
def carry_out(room, image, monkeypatch):
    """carry_out(text): a page with this text, as a recipe; what was said meanwhile."""
    monkeypatch.setattr(run, "PAGES", pathlib.Path(room.path))

    def carry_out(text):
        said = []
        with open(room.file("page.md"), "w") as file:
            file.write(text)
        recipe.run_recipe("page", recipe.run.What(), wire.BUILD, say=said.append)
        return said

    return carry_out


GOOD = """# A page

```sh host
export A=1 # lasts
cat
```

```sh host
(echo late; echo later) &
echo $A two three
wait
```

```text
late
later
```

```
not run
```

```sh host
echo $A two three
```

```text
1 ... three
```

```c tests/vm/test_recipes.py
pytestmark = pytest.mark.limit(300)

QUICK
```

## An end that does nothing
"""


def test_a_page_that_is_right(carry_out):
    said = "\n".join(carry_out(GOOD))
    assert "| 1 two three" in said and "not run" not in said and "does nothing" not in said


@pytest.mark.parametrize("old, new, words", [
    ("export A=1", "false; export A=1", "page.md:3: host ended"),
    ("(echo late; echo later)", "(echo later; echo late)", r"page.md:14: host did not print '.*later.*"),
    ("wait", "exit 0", "page.md:8: host ended"),
    ("1 ... three", "1 ... four", "page.md:27: host did not print '.*four.*"),
    ("1 ... three", "... 1 ... three", "page.md:27: host did not print"),
    ("limit(300)\n\nQUICK", "limit(300)\nQUICK", "page.md:31: tests/vm/test_recipes.py does not have these lines"),
    ("three\n```\n\n```c", "three\n\n```c", "page.md:27: this block has no end"),
])
def test_a_page_that_is_wrong(carry_out, monkeypatch, old, new, words):
    monkeypatch.setattr(recipe.parties, "LIMIT", 2)
    assert old in GOOD
    with pytest.raises((recipe.RecipeError, recipe.PageError)) as caught:
        carry_out(GOOD.replace(old, new))
    assert re.match(words, str(caught.value)), caught.value
