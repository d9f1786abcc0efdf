"""Settings of the documentation."""

import builtins
import inspect
from importlib.metadata import version as version_of
from typing import Any, get_type_hints

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

project = "snowplow-aio"
author = "The snowplow-aio maintainers"
copyright = author
release = version = version_of(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {version}"

# Every heading down to this depth can be linked to.
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

# The docstrings mark code with single backticks.
default_role = "code"

autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 88

# Every reference must lead somewhere. Those to other projects lead nowhere:
# the build asks no other machine for their lists of names. Neither do private
# names, which annotations may show.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!snowplow_aio\b).*"),
    (r"py:.*", r".*\._.*"),
    # Parts of an integration that are not public.
    (r"py:class", r"snowplow_aio\.integrations\.request_errors\..*"),
    # Parts of an emitter that are not public.
    (r"py:class", r"snowplow_aio\.delivery\.(?!emitter|memory_store|options).*"),
]


def model_signature(
    _app: Sphinx, _what: str, _name: str, obj: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show the fields of a model under their Python names, without their rules."""
    if not (isinstance(obj, type) and issubclass(obj, BaseModel)):
        return signature, returns
    hints = get_type_hints(obj)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[name],
            default=inspect.Parameter.empty if field.is_required() else field.default,
        )
        for name, field in obj.model_fields.items()
    ]
    return stringify_signature(inspect.Signature(parameters), unqualified_typehints=True), returns


def unlink_builtins(_app: Sphinx, document: nodes.document) -> None:
    """Keep a type such as `bytes` from being taken for an attribute of that name."""
    for reference in list(document.findall(pending_xref)):
        if hasattr(builtins, reference.get("reftarget", "")):
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("autodoc-process-signature", model_signature)
    app.connect("doctree-read", unlink_builtins)
