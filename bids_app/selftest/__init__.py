"""A phantom that ships, and the check of what this installation finds in it: ``mscord --self-test``."""
