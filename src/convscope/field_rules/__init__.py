"""What each ATen operation does to the receptive fields of its inputs: one small rule an operation."""

from convscope.field_rules import shapes, windows
from convscope.field_rules.axes import RULES, Axis, Context, Field, merge
from convscope.field_rules.mixing import pointwise

__all__ = ["RULES", "Axis", "Context", "Field", "merge", "pointwise", "shapes", "windows"]
