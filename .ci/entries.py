"""How the docs show a public name: its signature as it is written, a class with its methods, an enum with its values.

nbdev's own entry of a class has no methods, shortens `list[str]` to `list`, and puts links into signatures. `Entries` is
the processor (`procs` in settings.ini) that replaces it; `.ci` is on PYTHONPATH where the docs are built.
"""

import ast
import re
import textwrap
from pathlib import Path

from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import Processor

SHOWN = re.compile(r"^show_doc\(([\w.]+)", re.MULTILINE)
DECORATIONS = ("classmethod", "staticmethod", "contextmanager")
OPTIONS = "What it takes: [all commands](../commands.qmd)."


def is_property(node: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def unquoted(node: ast.FunctionDef, lines: list[str]) -> list[str]:
    """The lines of a definition up to its body, without quotes around types."""
    head = lines[node.lineno - 1 : node.body[0].lineno - 1]
    arguments = (
        *node.args.posonlyargs,
        *node.args.args,
        *node.args.kwonlyargs,
        node.args.vararg,
        node.args.kwarg,
    )
    types = [node.returns, *(argument.annotation for argument in arguments if argument)]
    for part in (part for kind in types if kind for part in ast.walk(kind)):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            line = part.lineno - node.lineno
            head[line] = head[line].replace(ast.get_source_segment("\n".join(lines), part), part.value, 1)
    return head


def signature(node: ast.FunctionDef, lines: list[str], name: str) -> str:
    """The lines of a definition up to its body, without self, with the name that callers use."""
    text = textwrap.dedent("\n".join(unquoted(node, lines)))
    text = re.sub(r"\((self|cls)(, )?", "(", text)
    text = re.sub(r"(?m)^    (self|cls),\n", "", text)
    if is_property(node):
        return text.partition("->")[2].strip().replace(":", "", 1) if "->" in text else ""
    kept = [ast.unparse(decorator) for decorator in node.decorator_list]
    text = text.replace(f"def {node.name}(", f"{name}(" if node.name == "__init__" else f"def {name}(", 1)
    return "\n".join([*(f"@{one}" for one in kept if one in DECORATIONS), text.rstrip().removesuffix(":")])


def fields(node: ast.ClassDef, lines: list[str]) -> list[str]:
    """The fields of a dataclass and the values of an enum, with what is said of them."""
    held = [
        part
        for part in node.body
        if (isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_"))
        or (isinstance(part, ast.Assign) and any("Enum" in ast.unparse(base) for base in node.bases))
    ]
    return [line for part in held for line in lines[part.lineno - 1 : part.end_lineno]]


def members(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """The public methods and properties that a class defines."""
    return [part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")]


def fence(code: str) -> str:
    return f"```python\n{code.replace('`', '')}\n```" if code else ""


def member(node: ast.FunctionDef, lines: list[str], name: str) -> list[str]:
    """A method with its signature, a property with what it gives."""
    code = signature(node, lines, name)
    if is_property(node) and code:
        code = f"{name}: {code}"
    return [f"#### {name}", fence(code), ast.get_docstring(node) or ""]


def class_entry(node: ast.ClassDef, lines: list[str]) -> list[str]:
    """A class: how it is made, its fields, what it is and does, and each method."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    head = [f"class {node.name}({bases})" if bases else f"class {node.name}", *fields(node, lines)]
    start = next((part for part in node.body if getattr(part, "name", "") == "__init__"), None)
    if isinstance(start, ast.FunctionDef):
        head += ["", signature(start, lines, node.name)]
    said = [fence("\n".join(head)), ast.get_docstring(node) or ""]
    for part in members(node):
        said += member(part, lines, f"{node.name}.{part.name}")
    return said


def entry(module: Path, name: str) -> tuple[int, str]:
    """The line where a module defines a function or class, and what the docs say of it, as Markdown without links."""
    text = module.read_text(encoding="utf-8")
    lines = text.splitlines()
    node = next(part for part in ast.parse(text).body if getattr(part, "name", "") == name)
    if isinstance(node, ast.ClassDef):
        said = class_entry(node, lines)
    else:
        assert isinstance(node, ast.FunctionDef), name
        is_command = any(ast.unparse(one).startswith("command(") for one in node.decorator_list)
        said = [
            "" if is_command else fence(signature(node, lines, name)),
            ast.get_docstring(node) or "",
            OPTIONS if is_command else "",
        ]
    return node.lineno, "\n\n".join(part for part in said if part)


def commands_give_way() -> None:
    """`train` in prose leads to the function of that name, not to a command's, which has a page of its own."""
    table = NbdevLookup().syms
    package = NbdevLookup().entries[get_config().lib_name]["syms"]
    right = NbdevLookup(skip_mods=tuple(module for module in package if ".cli." in module)).syms
    table.clear()
    table.update(right)


class Entries(Processor):
    """Puts our entries in the place of nbdev's."""

    def __init__(self, nb) -> None:
        super().__init__(nb)
        commands_give_way()
        named = [cell.directives_["default_exp"][0] for cell in nb.cells if "default_exp" in cell.directives_]
        self.module = named[0] if named else ""

    def cell(self, cell) -> None:
        shown = SHOWN.search(cell.source) if cell.cell_type == "code" and self.module else None
        if not shown:
            return
        config, name = get_config(), shown[1]
        file = f"{config.lib_name}/{self.module.replace('.', '/')}.py"
        line, said = entry(Path(config.config_path) / file, name)
        address = f"{config.git_url}/blob/{config.branch}/{file}#L{line}"
        source = f'[source]({address}){{target="_blank" style="float:right; font-size:smaller"}}'
        text = f"---\n\n{source}\n\n### {name}\n\n{NbdevLookup().linkify(said)}"
        shown_now = {"data": {"text/markdown": text.splitlines(True)}, "metadata": {}}
        cell.outputs = [{**shown_now, "output_type": "display_data"}]
