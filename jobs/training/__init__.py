"""How the embedded networks are made. Imports torch, numpy, pillow and the standard library alone."""
