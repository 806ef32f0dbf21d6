"""The field of view of units measured from data, by hiding parts of images [METHODS 5.3]."""

from convscope.empirical_field.run import empirical_fields
from convscope.empirical_field.section import EmpiricalField, EmpiricalFields, FieldLayer

__all__ = ["EmpiricalField", "EmpiricalFields", "FieldLayer", "empirical_fields"]
