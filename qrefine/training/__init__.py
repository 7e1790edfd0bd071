"""How the embedded models are trained: known damage to clean images. Nothing here is imported at inference."""
