"""What a release uploads, built, checked, installed and started."""
