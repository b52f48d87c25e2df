"""Readers of published file formats, one file each: rows as they were published, checked, without opening pictures."""
