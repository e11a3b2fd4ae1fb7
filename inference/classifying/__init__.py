"""Labels of pictures by texts alone, written as a table."""
