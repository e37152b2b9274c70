"""A small tanh network and its linearization: the picture of the network experiment."""

from figures.mlp.teacher_student_stall import draw

__all__ = ["draw"]
