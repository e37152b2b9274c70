"""The theory a second time, in 60 digits and by other means than the package's."""
