"""What spandrel imports of torchvision, for tests beside a CPU build of torch that no torchvision of PyPI fits.

Two architectures of spandrel use it when they run (LaMa, RestoreFormer); all others only need the import.
"""
