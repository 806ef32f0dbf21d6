"""What each ATen operation does to the receptive fields of its inputs: one small rule an operation."""

from convscope.field_rules import shapes, windows, writes
from convscope.field_rules.axes import RULES, Axis, Context, Field, Fields, along, merge, settled_where_shared
from convscope.field_rules.mixing import pointwise

__all__ = [
    "RULES", "Axis", "Context", "Field", "Fields", "along", "merge", "pointwise", "settled_where_shared", "shapes",
    "windows", "writes",
]  # fmt: skip
