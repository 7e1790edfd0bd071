"""Diffusion models as inpainter (D_m) and enhancers, through the pipelines of ``diffusers``.

`img2img` is mode fused: batched image-to-image under a strength map per image. `inpaint` is mode paper:
native inpainting under a hard mask. Both use `load`, `text` (prompt embeddings) and `batches`.
"""
