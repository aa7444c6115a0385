"""What results say: sections of a Page, built from numbers."""
