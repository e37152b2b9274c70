"""What a lesson's kernel runs first (PYTHONSTARTUP): there, a warning is an error."""

import warnings

warnings.simplefilter("error")
warnings.filterwarnings(
    "default", module="ipykernel"
)  # the kernel's own housekeeping is not the lesson's
