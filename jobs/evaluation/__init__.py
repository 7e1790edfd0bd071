"""What the embedded networks are measured by: pictures, damage, tables of figures. Not in the wheel."""
