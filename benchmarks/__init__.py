"""How fast, and with how little memory: measured beside the packages one would use instead."""
